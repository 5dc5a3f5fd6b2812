-- A candle in an answer, with the short names that Binance gave its parts.
local interval = require "lib.interval"
local schema = require "lib.schema"

local kline = {}

-- What a query selects so that kline.of can read its rows.
kline.columns = [[
  symbol, (extract(epoch from time) * 1000)::bigint as open_ms, open, high, low, close, volume]]

kline.schema = schema.object {
  t = schema.time, T = schema.time, s = schema.text,
  o = schema.number, h = schema.number, l = schema.number, c = schema.number, v = schema.number,
}

-- A column without a value is null in the answer, never absent.
function kline.of(row, interval_name)
  return {
    t = row.open_ms,
    T = interval.close_ms(interval_name, row.open_ms),
    s = row.symbol,
    o = row.open or cs.null,
    h = row.high or cs.null,
    l = row.low or cs.null,
    c = row.close or cs.null,
    v = row.volume or cs.null,
  }
end

return kline
