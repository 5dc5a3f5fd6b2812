-- An endpoint's statements on a real PostgreSQL, from the request to the answer, without the
-- service: prepared, planned and executed as the service does it.
--
--   local asker = statements.prepare(database, kit, kit:endpoint "endpoints.klines_missed")
--   asker:ask { symbol = "BTCUSDT", fromSeq = "0", toSeq = "9" }   --> the answer
local number = require "spec.support.rules.number"

local statements = {}
local Asker = {}
Asker.__index = Asker

local FLOAT8 = { open = true, high = true, low = true, close = true, volume = true }
local TEXT = { symbol = true, reason = true }

local count = 0

function statements.prepare(database, kit, endpoint)
  count = count + 1
  local self = setmetatable({
    database = database, kit = kit, endpoint = endpoint, prefix = ("ask%d_"):format(count),
  }, Asker)
  database:exec "SET plan_cache_mode = force_custom_plan"
  for i, query in ipairs(endpoint.def.queries) do
    database:exec(("PREPARE %s%d AS %s"):format(self.prefix, i, query.sql))
  end
  return self
end

function Asker:literal(value, kind)
  if value == nil or value == self.kit.cs.null then return "NULL" end
  if kind == "timestamptz" then value = self.kit.cs.time.iso(value) end
  if type(value) == "number" then value = ("%.0f"):format(value) end
  return "'" .. tostring(value):gsub("'", "''") .. "'"
end

-- The statement that executes query `i`.
function Asker:execute(i, values)
  local literals = {}
  for place, kind in ipairs(self.endpoint.def.queries[i].types) do
    literals[place] = self:literal(values[place], kind)
  end
  local list = #literals > 0 and "(" .. table.concat(literals, ", ") .. ")" or ""
  return ("EXECUTE %s%d%s"):format(self.prefix, i, list)
end

-- Texts of the driver as the host hands them to rules.
local function cells(rows)
  for _, row in ipairs(rows) do
    for column, text in pairs(row) do
      if FLOAT8[column] then row[column] = tonumber(text)
      elseif not TEXT[column] then row[column] = number.from(text) end
    end
  end
  return rows
end

-- The answer of the endpoint, see spec.support.rules. `watch(i, values)` is called before each
-- query.
function Asker:call(query, watch)
  return self.endpoint:call {
    query = query,
    results = function(i, values)
      if watch then watch(i, values) end
      return cells(self.database:rows(self:execute(i, values)))
    end,
  }
end

-- The body of an answer that must be 200, and its text.
function Asker:ask(query, watch)
  local answer = self:call(query, watch)
  assert(answer.status == 200, answer.text)
  return answer.body, answer.text
end

function Asker:plan(i, values)
  local lines = {}
  for _, row in ipairs(self.database:rows("EXPLAIN " .. self:execute(i, values))) do
    lines[#lines + 1] = select(2, next(row))
  end
  return table.concat(lines, "\n")
end

-- How many tables query `i` locks.
function Asker:locks(i, values)
  self.database:exec("BEGIN; " .. self:execute(i, values))
  local locks = self.database:number [[
    SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND c.relkind = 'r' AND c.relname ~ '^(market_)?klines_']]
  self.database:exec "COMMIT"
  return locks
end

return statements
