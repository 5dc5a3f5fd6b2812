-- Messages of market_data in every shape that producers send, and what they are: the examples of
-- its streams.
local samples = {}

-- What is stored: where, and the row. `seq` is the number that the message brings.
local stored = {
  {
    message = [[
      {"seq":101,"timestamp":1704067201250,"symbol":"BTCUSDT","interval":"1m","kline":{
        "openTime":1704067200000,"closeTime":1704067259999,
        "open":"50000.00000000","high":"50100.00000000","low":"49900.00000000",
        "close":"50050.00000000","volume":"10.50000000","isFinal":true}}]],
    seq = 101, into = "market_klines",
    row = { symbol = "BTCUSDT", open = 50000, high = 50100, low = 49900, close = 50050,
      volume = 10.5 },
  },
  {
    message = [[
      {"symbol":"BTCUSDT","interval":"5m","kline":{
        "openTime":1704067200000,"closeTime":1704067499999,
        "open":"50000.00","high":"50180.00","low":"49900.00","close":"50120.10",
        "volume":"55.1","isFinal":false}}]],
    into = "klines",
    row = { symbol = "BTCUSDT", interval = "5m", open = 50000, high = 50180, low = 49900,
      close = 50120.10, volume = 55.1 },
  },
  { -- a combined stream
    message = [[
      {"stream":"ethusdt@kline_1m","data":{"e":"kline","E":1704067230123,"s":"ETHUSDT","k":{
        "t":1704067200000,"T":1704067259999,"s":"ETHUSDT","i":"1m","f":100,"L":200,
        "o":"2280.10","c":"2281.55","h":"2282.00","l":"2279.90","v":"311.2042",
        "n":101,"x":false,"q":"709911.1","V":"150.1","Q":"342410.2","B":"0"}}}]],
    into = "market_klines",
    row = { symbol = "ETHUSDT", open = 2280.10, high = 2282, low = 2279.90, close = 2281.55,
      volume = 311.2042 },
  },
  { -- a raw stream
    message = [[
      {"e":"kline","E":1704067260010,"s":"BNBUSDT","seq":102,"k":{
        "t":1704067200000,"T":1704067259999,"s":"BNBUSDT","i":"1m",
        "o":"310.2","c":"310.4","h":"310.6","l":"310.1","v":"98.11","x":true}}]],
    seq = 102, into = "market_klines",
    row = { symbol = "BNBUSDT", open = 310.2, high = 310.6, low = 310.1, close = 310.4,
      volume = 98.11 },
  },
  { -- the same, the number further in
    message = [[
      {"e":"kline","E":1704067260010,"s":"SOLUSDT","k":{
        "t":1704067200000,"T":1704067259999,"s":"SOLUSDT","i":"1m",
        "o":"101.2","c":"101.4","h":"101.6","l":"101.1","v":"9811.5","x":true,"seq":103}}]],
    seq = 103, into = "market_klines",
    row = { symbol = "SOLUSDT", open = 101.2, high = 101.6, low = 101.1, close = 101.4,
      volume = 9811.5 },
  },
  { -- flat
    message = [[
      {"s":"XRPUSDT","t":1704067200000,"T":1704067259999,
        "o":0.6152,"h":0.6160,"l":0.6150,"c":0.6157,"v":120034.0,"seq":104}]],
    seq = 104, into = "market_klines",
    row = { symbol = "XRPUSDT", open = 0.6152, high = 0.6160, low = 0.6150, close = 0.6157,
      volume = 120034 },
  },
}

local refused = {
  {
    message = [[
      {"s":"XRPUSDT","i":"3m","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5}]],
    reject = "interval: 3m is none of 1m, 5m, 1h, 1d, 1w, 1M",
  },
  {
    message = [[
      {"s":"XRP/USDT","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5}]],
    reject = "symbol: only A-Z, 0-9 and _ . - are allowed",
  },
  {
    message = [[
      {"s":"XRPUSDT","t":1704067200000,"o":1,"h":1,"l":2,"c":1,"v":5}]],
    reject = "high: 1 is below low, 2",
  },
}

samples.negative_sequence = [[
  {"s":"xrpusdt","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5,"seq":-1}]]

-- All of them were opened at the same moment.
samples.time = 1704067200000

local function row_of(sample, is_numbered)
  local row = { time = samples.time, sequence = is_numbered and sample.seq or nil }
  for column, value in pairs(sample.row) do row[column] = value end
  return row
end

-- The examples of a stream, whose rows have the sequence (`is_numbered`) or have none, and one of
-- its own.
function samples.examples(is_numbered, own)
  local examples = {}
  for _, sample in ipairs(stored) do
    table.insert(examples, {
      message = sample.message, rows = { [sample.into] = row_of(sample, is_numbered) },
    })
  end
  for _, sample in ipairs(refused) do table.insert(examples, sample) end
  table.insert(examples, own)
  return examples
end

return samples
