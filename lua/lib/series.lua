-- A series is what one symbol did at one interval. 1m has a table of its own, the other intervals
-- share one, so a question about a series is asked of one of two tables.
local interval = require "lib.interval"

-- `by`: how many of symbol and interval it takes to name a series in the table.
local TABLES = {
  { table = "market_klines", series = "symbol = $1 and $2 = '1m'", by = 1 }, -- 1m and nothing else
  { table = "klines", series = "symbol = $1 and interval = $2", by = 2 },
}

local series = {}

-- The queries of an endpoint from questions such as
--
--   {
--     sql = "select ... from {table} where {series} and time < $3",
--     types = { "timestamptz" },                              -- of $3 and what follows
--     values = function(asked, rows) return { asked.to_ms } end,
--   }
--
-- $1 and $2 are the symbol and the interval. `rows` are those of the question before; without
-- values the question is not asked. {by} is the number of them that name a series in {table}.
function series.queries(questions)
  local queries = {}
  for i, question in ipairs(questions) do
    for _, home in ipairs(TABLES) do
      queries[#queries + 1] = {
        sql = question.sql:gsub("{(%l+)}", home),
        types = { "text", "text", unpack(question.types) },
        params = function(req, asked, results)
          if interval.table_of(asked.interval) ~= home.table then return nil end
          local values = question.values(asked, series.rows(results, i - 1), req)
          return values and { asked.symbol, asked.interval, unpack(values) }
        end,
      }
    end
  end
  return queries
end

-- The rows that answer question `i`; nil when it was not asked.
function series.rows(results, i)
  return results[2 * i - 1] or results[2 * i]
end

return series
