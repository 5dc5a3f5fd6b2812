-- A candle (kline) as producers of market_data send it, and the row it becomes.
local check = require "lib.check"
local interval = require "lib.interval"
local symbol = require "lib.symbol"

local candle = {}

candle.fields = {
  symbol = "text",
  interval = "text?",
  time = "ms",
  open = "float8",
  high = "float8",
  low = "float8",
  close = "float8",
  volume = "float8",
  seq = "int8?",
}

-- Binance's object "k": the same inside a combined stream and alone.
local function binance(k)
  return {
    interval = k .. ".i",
    time = k .. ".t",
    open = k .. ".o",
    high = k .. ".h",
    low = k .. ".l",
    close = k .. ".c",
    volume = k .. ".v",
  }
end

local combined = binance("data.k")
combined.symbol = { "data.k.s", "data.s" }
combined.seq = { "seq", "data.seq", "data.k.seq" }

local raw = binance("k")
raw.symbol = { "k.s", "s" }
raw.seq = { "seq", "k.seq" }

candle.shapes = {
  { -- the Stream Ingester's, with or without a sequence
    symbol = "symbol",
    interval = { "interval", "kline.interval" },
    time = "kline.openTime",
    open = "kline.open",
    high = "kline.high",
    low = "kline.low",
    close = "kline.close",
    volume = "kline.volume",
    seq = { "seq", "kline.seq" },
  },
  combined,
  raw,
  { -- flat
    symbol = "s",
    interval = { "i", "interval" },
    time = "t",
    open = "o",
    high = "h",
    low = "l",
    close = "c",
    volume = "v",
    seq = "seq",
  },
}

-- Only what cannot be a candle is refused. That open and close lie between low and high is not
-- asked: some producers open a candle at the previous close.
local impossible = check.compile {
  { "time", "at least", 0 },
  { "time", "at most", 253402300799999 }, -- the end of year 9999: beyond it the unit is wrong
  { "open", "at least", 0 },
  { "high", "at least", 0 },
  { "low", "at least", 0 },
  { "close", "at least", 0 },
  { "high", "at least", "low" },
  { "volume", "at least", 0 },
}

-- The name of the table and the row for it; nil and the reason when this is no candle.
function candle.row(k)
  local name, trouble = symbol.parse(k.symbol)
  if not name then return nil, trouble end

  local span = k.interval or interval.default
  local destination = interval.table_of(span)
  if not destination then
    return nil, ("interval: %s is none of %s"):format(span, interval.names)
  end

  trouble = impossible(k)
  if trouble then return nil, trouble end

  local row = {
    time = k.time,
    symbol = name,
    open = k.open,
    high = k.high,
    low = k.low,
    close = k.close,
    volume = k.volume,
  }
  if destination == "klines" then row.interval = span end
  return destination, row
end

-- The series of the ledger that a candle belongs to, from what could be read of it; nil when that
-- is not enough. `unread` names the fields that are there but are not what they should be: an
-- interval that nobody can read is not the default one.
function candle.series(k, unread)
  if unread.interval then return nil end
  local name = k.symbol and symbol.parse(k.symbol)
  local span = k.interval or interval.default
  local destination = interval.table_of(span)
  if not name or not destination then return nil end
  if destination == "klines" then return destination, { name, span } end
  return destination, { name }
end

-- The same from the key of a message, "BTCUSDT_1m".
function candle.series_of_key(key)
  local name, span = key:match("^(.+)_(%w+)$")
  if not name then return nil end
  return candle.series({ symbol = name, interval = span }, {})
end

-- The columns that both tables have; `more` are a table's or a stream's own.
function candle.columns(more)
  local all = {
    time = "timestamptz",
    symbol = "text",
    open = "float8",
    high = "float8",
    low = "float8",
    close = "float8",
    volume = "float8",
  }
  for name, kind in pairs(more) do all[name] = kind end
  return all
end

return candle
