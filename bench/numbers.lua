-- How the benchmarks write numbers.
local numbers = {}

-- "105,700", "32.7", "0.65"
function numbers.text(value)
  if value < 10 then return ("%.2f"):format(value) end
  if value < 1000 then return ("%.1f"):format(value) end
  local text = ("%.0f"):format(value)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local NAMES = {
  { "cpu_us", "us CPU a message" }, { "query_us", "us a query" }, { "p50", "ms p50" },
  { "p999", "ms p99.9" }, { "p99_ms", "ms p99" }, { "requests", "requests/s" },
  { "api_p99_ms", "ms p99 at the client" }, { "parts", "parts a statement" }, { "mb", "MB" },
}

-- The further numbers of a turn as a list of { name, "4.7", "us CPU a message" }, in one order.
function numbers.more(turn)
  local list = {}
  for _, known in ipairs(NAMES) do
    local value = turn.more[known[1]]
    if value then list[#list + 1] = { known[1], numbers.text(value), known[2] } end
  end
  return list
end

-- What of a result is held against what: "0.97 of PostgreSQL alone", or "".
function numbers.comparison(result)
  if result.ratio then return ("%.2f of %s"):format(result.ratio, result.of) end
  if result.added then return ("%.1f %% more than PostgreSQL's own"):format(result.added * 100) end
  if result.worst then return ("at most %.2f times the first"):format(result.worst) end
  return ""
end

-- "at least 0.9", or nil.
function numbers.target(result)
  return result.target and ("at least %g of %s"):format(result.target, result.of)
    or result.most and ("at most %g %s"):format(result.most, result.unit)
    or result.added and ("at most %g %% more"):format(result.added_most * 100)
    or result.flat and ("at most %g"):format(result.flat)
end

-- "at least 0.9 of ..., met", or "".
function numbers.verdict(result)
  local target = numbers.target(result)
  return target and target .. (result.met and ", met" or ", not met") or ""
end

return numbers
