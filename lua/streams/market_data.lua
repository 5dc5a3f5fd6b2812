-- The original consumer: candles without sequence numbers, the later message wins. A sequence
-- that the table holds already stays as it is.
local candle = require "lib.candle"
local message = require "lib.candle_samples"

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

  examples = {
    {
      message = message.ingester,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "BTCUSDT",
          open = 50000, high = 50100, low = 49900, close = 50050, volume = 10.5,
        },
      },
    },
    {
      message = message.not_sequenced,
      rows = {
        klines = {
          time = 1704067200000, symbol = "BTCUSDT", interval = "5m",
          open = 50000, high = 50180, low = 49900, close = 50120.10, volume = 55.1,
        },
      },
    },
    {
      message = message.combined_stream,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "ETHUSDT",
          open = 2280.10, high = 2282, low = 2279.90, close = 2281.55, volume = 311.2042,
        },
      },
    },
    {
      message = message.raw_stream,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "BNBUSDT",
          open = 310.2, high = 310.6, low = 310.1, close = 310.4, volume = 98.11,
        },
      },
    },
    {
      message = message.raw_stream_seq_inside,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "SOLUSDT",
          open = 101.2, high = 101.6, low = 101.1, close = 101.4, volume = 9811.5,
        },
      },
    },
    {
      message = message.flat,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "XRPUSDT",
          open = 0.6152, high = 0.6160, low = 0.6150, close = 0.6157, volume = 120034,
        },
      },
    },
    {
      message = message.unknown_interval,
      reject = "interval: 3m is none of 1m, 5m, 1h, 1d, 1w, 1M",
    },
    {
      message = message.no_symbol_name,
      reject = "symbol: only A-Z, 0-9 and _ . - are allowed",
    },
    { message = message.upside_down, reject = "high: 1 is below low, 2" },
    {
      message = message.negative_sequence,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "XRPUSDT",
          open = 1, high = 2, low = 1, close = 1, volume = 5,
        },
      },
    },
  },
}
