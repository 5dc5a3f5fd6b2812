-- Candles with their sequence numbers: what "what did I miss?" is answered from.
--
-- An older message that comes late or again never undoes a newer one: the row with the greater
-- sequence stays.
local candle = require "lib.candle"
local check = require "lib.check"
local samples = require "lib.candle_samples"

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

  examples = samples.examples(true, {
    message = samples.negative_sequence, reject = "seq: -1 is below 0",
  }),
}
