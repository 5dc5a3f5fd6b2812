-- Candles with their sequence numbers: what "what did I miss?" is answered from.
--
-- An older message that comes late or again never undoes a newer one: the row with the greater
-- sequence stays.
local candle = require "lib.candle"
local check = require "lib.check"
local message = require "lib.candle_samples"

local misnumbered = check.compile {
  { "seq", "at least", 0 },
}

return {
  name = "MarketDataConsumerV2",
  topic = cs.env("MARKET_DATA_TOPIC", "market_data"),
  saved = "Saved %d klines with sequences",

  fields = candle.fields,
  shapes = candle.shapes,
  identify = { symbol = "symbol", sequence = "seq" },

  -- One counter for all symbols, where jumps within a symbol are no loss; or one for each symbol
  -- and interval, where a jump says that an update never came.
  numbering = cs.env("MARKET_DATA_NUMBERING", "global") == "dense"
    and { dense = { "symbol", "interval" } } or "global",

  -- Whose number is missing when a message is refused.
  series = candle.series,
  track_key = candle.series_of_key,

  tables = {
    market_klines = {
      columns = candle.columns { sequence = "int8?" },
      key = { "time", "symbol" },
      newer = "sequence",
      track = { by = { "symbol" }, sequence = "sequence", time = "time" },
    },
    klines = {
      columns = candle.columns { interval = "text", sequence = "int8?" },
      key = { "time", "symbol", "interval" },
      newer = "sequence",
      track = { by = { "symbol", "interval" }, sequence = "sequence", time = "time" },
    },
  },

  map = function(k)
    local trouble = misnumbered(k)
    if trouble then return nil, "reject", trouble end

    local destination, row = candle.row(k)
    if not destination then return nil, "reject", row end

    row.sequence = k.seq
    return { [destination] = row }
  end,

  examples = {
    {
      message = message.ingester,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "BTCUSDT",
          open = 50000, high = 50100, low = 49900, close = 50050, volume = 10.5,
          sequence = 101,
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
          sequence = 102,
        },
      },
    },
    {
      message = message.raw_stream_seq_inside,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "SOLUSDT",
          open = 101.2, high = 101.6, low = 101.1, close = 101.4, volume = 9811.5,
          sequence = 103,
        },
      },
    },
    {
      message = message.flat,
      rows = {
        market_klines = {
          time = 1704067200000, symbol = "XRPUSDT",
          open = 0.6152, high = 0.6160, low = 0.6150, close = 0.6157, volume = 120034,
          sequence = 104,
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
    { message = message.negative_sequence, reject = "seq: -1 is below 0" },
  },
}
