-- The intervals of candles: how long each is and which table keeps it.
local MINUTE_MS = 60 * 1000
local HOUR_MS = 60 * MINUTE_MS
local DAY_MS = 24 * HOUR_MS

local KNOWN = {
  ["1m"] = { table = "market_klines", length_ms = MINUTE_MS },
  ["5m"] = { table = "klines", length_ms = 5 * MINUTE_MS },
  ["1h"] = { table = "klines", length_ms = HOUR_MS },
  ["1d"] = { table = "klines", length_ms = DAY_MS },
  ["1w"] = { table = "klines", length_ms = 7 * DAY_MS },
  ["1M"] = { table = "klines", months = 1, length_ms = 31 * DAY_MS }, -- at the longest
}

local interval = {
  default = "1m",
  names = "1m, 5m, 1h, 1d, 1w, 1M",
}

interval.schema = { enum = { "1m", "5m", "1h", "1d", "1w", "1M" }, default = interval.default }

-- The table that keeps candles of this interval; nil when there is no such interval.
function interval.table_of(name)
  local known = KNOWN[name]
  return known and known.table
end

-- The longest that one candle of this interval lasts.
function interval.longest_ms(name)
  return KNOWN[name].length_ms
end

-- When the candle that opens at `open_ms` gives way to the next one.
function interval.close_ms(name, open_ms)
  local known = KNOWN[name]
  if known.months then return cs.time.add_months(open_ms, known.months) end
  return open_ms + known.length_ms
end

return interval
