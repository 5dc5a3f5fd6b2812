-- An endpoint file under test: one request from request() through the queries to reply(), with
-- results made up by the spec instead of a database.
local cjson = require "cjson"
local convert = require "spec.support.rules.convert"
local encode = require "spec.support.rules.encode"
local json = require "spec.support.rules.json"

local KNOWN = {
  name = 1, summary = 1, parameters = 1, responses = 1, method = 1, paths = 1, request = 1,
  queries = 1, reply = 1, examples = 1,
}

local SPEC_ID = "spec"

local Endpoint = {}
Endpoint.__index = Endpoint

local function check(condition, text, ...)
  if not condition then error(text:format(...), 0) end
end

local function check_query(where, query)
  check(type(query.sql) == "string", "%s.sql: a string was expected", where)
  local types, highest = query.types or {}, 0
  for place in query.sql:gmatch("%$(%d+)") do highest = math.max(highest, tonumber(place)) end
  check(highest == #types, "%s: $%d is used, %d types are declared", where, highest, #types)
  check(query.params or #types == 0, "%s.params: a function was expected", where)
  for _, kind in ipairs(types) do
    check(convert.is_column_kind(kind), "%s.types: %s is no type", where, tostring(kind))
  end
end

local function check_definition(def)
  for key in pairs(def) do check(KNOWN[key], "%s: unknown", tostring(key)) end
  check(type(def.method) == "string", "method: a string was expected")
  check(type(def.paths) == "table" and def.paths[1], "paths: at least one was expected")
  check(type(def.reply) == "function", "reply: a function was expected")
  for i, query in ipairs(def.queries or {}) do check_query(("queries[%d]"):format(i), query) end
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
    id = given.id or SPEC_ID,
    body = given.body,
    waited_ms = 0,
  }
end

-- The host's longest wait for a reply that comes again and again.
local MOST_WAIT_MS = 5000

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

-- A function said: nil, status, message [, extra]
local function refusal(asked, status, message, extra)
  check(type(status) == "number" and type(message) == "string",
    "nil was returned without a status and a message")
  local body = { error = message }
  for key, value in pairs(extra or {}) do body[key] = value end
  return answer(status, body, asked)
end

local function check_values(i, query, values)
  local types = query.types or {}
  for place, kind in ipairs(types) do
    local value = values[place]
    if value ~= nil and value ~= cjson.null then
      local trouble = convert.column_trouble(kind, value)
      check(not trouble, "queries[%d]: $%d: %s", i, place, tostring(trouble))
    end
  end
  for place in pairs(values) do
    check(place == "n" or (type(place) == "number" and place <= #types),
      "queries[%d]: there is no $%s", i, tostring(place))
  end
end

local function rows_for(source, i, values, req)
  local rows
  if type(source) == "function" then rows = source(i, values, req) else rows = (source or {})[i] end
  check(type(rows) == "table", "queries[%d] is run, the spec has no rows for it", i)
  return rows
end

-- Runs the queries; the answer when one of them gave it.
function Endpoint:ask(req, params, results, asked, source)
  for i, query in ipairs(self.def.queries or {}) do
    local values, status, message, extra = {}, nil, nil, nil
    if query.params then values, status, message, extra = query.params(req, params, results) end
    if values then
      check_values(i, query, values)
      asked[i] = values
      results[i] = rows_for(source, i, values, req)
    elseif status ~= nil then
      return refusal(asked, status, message, extra)
    end
  end
end

-- reply() wants to be asked again: notes the time as if it had passed. The host says `final` when
-- no more time will be given.
local function wait(req, ms, is_final)
  check(type(ms) == "number" and ms > 0, "again: milliseconds above 0 were expected")
  check(not req.final, "again: req.final was said")
  req.waited_ms = req.waited_ms + ms
  req.final = is_final or req.waited_ms >= MOST_WAIT_MS
end

-- The fields that do not count for the ETag, and the others.
local function merge(body, volatile)
  if volatile == nil then return body end
  check(type(body) == "table" and type(volatile) == "table", "the third value needs two tables")
  local merged = {}
  for key, value in pairs(body) do merged[key] = value end
  for key, value in pairs(volatile) do merged[key] = value end
  return merged
end

-- `given` is a request (query, params, claims, body) with `results`: the rows that each query
-- returns, by number, or a function(i, values, req) that returns them; and `is_final` when the host
-- shall not wait twice. The answer has status, body (decoded), text, `asked`: the values of each
-- query that was run (last), `lasting`: the text that its ETag is made of, and `waited_ms`.
function Endpoint:call(given)
  return self.enter(function()
    local req = full_request(self, given)
    local params, status, message, extra = req.query, nil, nil, nil
    if self.def.request then params, status, message, extra = self.def.request(req) end
    if not params then return refusal({}, status, message, extra) end

    while true do
      local results, asked = {}, {}
      local early = self:ask(req, params, results, asked, given.results)
      if early then return early end

      local code, body, volatile, more = self.def.reply(req, params, results)
      if code ~= nil then
        check(type(code) == "number", "reply: a status was expected, got a %s", type(code))
        local given_answer = answer(code, merge(body, volatile), asked)
        given_answer.lasting = type(body) == "string" and body or encode(body)
        given_answer.waited_ms = req.waited_ms
        return given_answer
      end
      if body ~= "again" then return refusal(asked, body, volatile, more) end
      wait(req, volatile, given.is_final)
    end
  end, given.id or SPEC_ID)
end

function Endpoint:check_example(example)
  local given = { results = example.results, is_final = true }
  for key, value in pairs(example.request or {}) do given[key] = value end
  if type(given.body) == "table" then given.body = encode(given.body) end
  local got = self:call(given)
  local expected = type(example.body) == "string" and example.body
    or encode(merge(example.body, example.volatile))
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
