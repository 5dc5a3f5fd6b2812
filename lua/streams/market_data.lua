-- The original consumer: candles without sequence numbers, the later message wins. A sequence
-- that the table holds already stays as it is.
local candle = require "lib.candle"
local samples = require "lib.candle_samples"

return {
  name = "MarketDataConsumer",
  topic = cs.env("MARKET_DATA_TOPIC", "market_data"),
  saved = "Saved %d klines",

  fields = candle.fields,
  shapes = candle.shapes,
  identify = { symbol = "symbol", sequence = "seq" },

  tables = {
    market_klines = {
      columns = candle.columns {},
      key = { "time", "symbol" },
    },
    klines = {
      columns = candle.columns { interval = "text" },
      key = { "time", "symbol", "interval" },
    },
  },

  map = function(k)
    local destination, row = candle.row(k)
    if not destination then return nil, "reject", row end

    return { [destination] = row }
  end,

  examples = samples.examples(false, {
    message = samples.negative_sequence,
    rows = {
      market_klines = {
        time = samples.time, symbol = "XRPUSDT", open = 1, high = 2, low = 1, close = 1, volume = 5,
      },
    },
  }),
}
