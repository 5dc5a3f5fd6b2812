-- An endpoint file under test: one request from request() through the queries to reply(), with
-- results made up by the spec instead of a database.
local cjson = require "cjson"
local convert = require "spec.support.rules.convert"
local encode = require "spec.support.rules.encode"
local json = require "spec.support.rules.json"

local Endpoint = {}
Endpoint.__index = Endpoint

local function check(condition, text, ...)
  if not condition then error(text:format(...), 0) end
end

local function check_definition(def)
  check(type(def.method) == "string", "method: a string was expected")
  check(type(def.paths) == "table" and def.paths[1], "paths: at least one was expected")
  check(type(def.request) == "function", "request: a function was expected")
  check(type(def.reply) == "function", "reply: a function was expected")
  for i, query in ipairs(def.queries or {}) do
    check(type(query.sql) == "string", "queries[%d].sql: a string was expected", i)
    check(type(query.params) == "function", "queries[%d].params: a function was expected", i)
    local highest = 0
    for place in query.sql:gmatch("%$(%d+)") do highest = math.max(highest, tonumber(place)) end
    check(highest == #query.types, "queries[%d]: $%d is used, %d types are declared", i, highest,
      #query.types)
    for _, kind in ipairs(query.types) do
      check(convert.is_column_kind(kind), "queries[%d].types: %s is no type", i, tostring(kind))
    end
  end
end

function Endpoint.new(def, enter)
  check_definition(def)
  return setmetatable({ def = def, enter = enter }, Endpoint)
end

local function full_request(self, given)
  return {
    method = given.method or self.def.method,
    path = given.path or self.def.paths[1],
    query = given.query or {},
    params = given.params or {},
    claims = given.claims,
    id = given.id or "spec",
    body = given.body,
  }
end

-- A body as the client gets it: its text, and that text decoded.
local function answer(status, body, asked)
  local text = type(body) == "string" and body or encode(body)
  return {
    status = status,
    text = text,
    body = json.read(text) and cjson.decode(text) or nil,
    asked = asked or {},
  }
end

-- request() said: nil, status, message [, extra]
local function refusal(status, message, extra)
  local body = { error = message }
  for key, value in pairs(extra or {}) do body[key] = value end
  return answer(status, body)
end

local function check_values(i, query, values)
  for place, kind in ipairs(query.types) do
    local value = values[place]
    if value ~= nil and value ~= cjson.null then
      local trouble = convert.column_trouble(kind, value)
      check(not trouble, "queries[%d]: $%d: %s", i, place, tostring(trouble))
    end
  end
  for place in pairs(values) do
    check(place == "n" or (type(place) == "number" and place <= #query.types),
      "queries[%d]: there is no $%s", i, tostring(place))
  end
end

-- `given` is a request (query, params, claims, body) with `results`: what each query returned, by
-- number, or a function(i, values) that returns it. The answer has status, body (decoded), text,
-- and `asked`: the values of each query that was run.
function Endpoint:call(given)
  return self.enter(function()
    local req = full_request(self, given)
    local params, status, message, extra = self.def.request(req)
    if params == nil then return refusal(status, message, extra) end
    local results, asked = {}, {}
    for i, query in ipairs(self.def.queries or {}) do
      local values = query.params(req, params, results)
      if values then
        check_values(i, query, values)
        asked[i] = values
        local source = given.results
        results[i] = type(source) == "function" and source(i, values) or (source or {})[i]
        check(results[i], "queries[%d] was asked, the spec has no results for it", i)
      end
    end
    local code, body = self.def.reply(req, params, results)
    check(type(code) == "number", "reply: a status was expected, got a %s", type(code))
    return answer(code, body, asked)
  end)
end

function Endpoint:check_example(example)
  local given = { results = example.results }
  for key, value in pairs(example.request) do given[key] = value end
  local got = self:call(given)
  local expected = type(example.body) == "string" and example.body or encode(example.body)
  if got.status == example.status and (example.body == nil or got.text == expected) then
    return nil
  end
  return ("expected %d %s, got %d %s"):format(example.status, expected, got.status, got.text)
end

-- True when every example comes out as it says; nil and the first that does not.
function Endpoint:run_examples()
  for i, example in ipairs(self.def.examples or {}) do
    local fine, trouble = pcall(self.check_example, self, example)
    if not fine or trouble then return nil, ("example %d: %s"):format(i, trouble) end
  end
  return true
end

return Endpoint
