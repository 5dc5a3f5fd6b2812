-- The same cases as spec/lua/contract_spec.lua, through the service's own reader and sandbox.
local contract = require "spec.support.contract"
local contract_values = require "spec.support.contract_values"
local json = require "spec.support.rules.json"
local postgres = require "spec.support.postgres"
local rules = require "spec.support.rules"
local service = require "spec.support.service"
local verify = require "spec.support.contract_check"

local DIR = "spec/fixtures/contract"

local function with_stdin(lines, work)
  local path = os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
  local fine, result = pcall(work, path)
  os.remove(path)
  return assert(fine and result, result)
end

-- Numbers stay text, so that no digit is lost before they are compared.
local function value_of(node, kind)
  if node.kind == "null" then return nil end
  if kind == "json" then return node.raw end
  if node.kind == "string" then return node.value end
  if node.kind == "number" then return node.raw end
  return node.kind == "true"
end

local function rows_of(node, columns)
  local rows = {}
  for i, item in ipairs(node.items) do
    rows[i] = {}
    for column, kind in pairs(columns) do
      local value = item.members[column]
      rows[i][column] = value and value_of(value, (kind:gsub("%?$", "")))
    end
  end
  return rows
end

-- One line of the service's answer as the kit would have put it.
local function result_of(line, stream)
  local members = assert(json.read(line)).members
  local result = {}
  for name, node in pairs(members) do
    if name ~= "rows" then result[name] = node.value end
  end
  if members.rows then
    result.rows = {}
    for name, node in pairs(members.rows.members) do
      result.rows[name] = rows_of(node, stream.def.tables[name].columns)
    end
  end
  return result
end

-- What the service makes of all messages of one stream, in their order.
local function try(stream_name, messages)
  return with_stdin(messages, function(path)
    local code, output = service.run({ "try", stream_name, "--lua", DIR }, {}, path)
    assert(code == 0, output)
    local lines = {}
    for line in output:gmatch("[^\n]+") do
      if line:sub(1, 1) == "{" then lines[#lines + 1] = line end
    end
    assert(#lines == #messages, output)
    return lines
  end)
end

describe("the contract of rules, kept by the service:", function()
  local kit = rules.open { dir = DIR }
  local answers = {} -- by case

  lazy_setup(function()
    local messages, cases = {}, {}
    for _, case in ipairs(contract) do
      local name = case.stream
      messages[name], cases[name] = messages[name] or {}, cases[name] or {}
      table.insert(messages[name], case.message)
      table.insert(cases[name], case)
    end
    for name in pairs(messages) do
      local stream = kit:stream("streams." .. name:lower())
      for i, line in ipairs(try(name, messages[name])) do
        answers[cases[name][i]] = result_of(line, stream)
      end
    end
  end)

  for _, case in ipairs(contract) do
    it(case.stream .. ": " .. case.sentence, function()
      verify(kit:stream("streams." .. case.stream:lower()), case, answers[case])
    end)
  end
end)

describe("what becomes of values in statements, as the service has it:", function()
  local BROKEN = 'core_service_rules_errors_total{file="endpoints/values.lua",hook="params"}'
  local database, running

  lazy_setup(function()
    database = postgres.shared():migrated "values"
    running = service.start {
      database = database, env = { LUA_DIR = "spec/fixtures/values", INGEST_WORKERS = 0 },
    }
  end)

  lazy_teardown(function()
    if running then running:kill() end
    if database then database:drop() end
  end)

  local function encoded(text)
    return (text:gsub("%W", function(c) return ("%%%02X"):format(c:byte()) end))
  end

  for _, case in ipairs(contract_values) do
    it(case.sentence, function()
      local before = running:metric(BROKEN) or 0
      local answer = running:get(
        ("/values/%s?value=%s"):format(encoded(case.kind), encoded(case.value)))
      if case.reason then
        assert.equal(500, answer.status)
        assert.equal(before + 1, running:metric(BROKEN))
      else
        assert.equal(200, answer.status, answer.body)
        assert.equal(case.text, answer.body)
      end
    end)
  end
end)
