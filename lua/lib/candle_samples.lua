-- Messages of market_data in every shape that producers send, for the streams' examples.
return {
  ingester = [[
    {"seq":101,"timestamp":1704067201250,"symbol":"BTCUSDT","interval":"1m","kline":{
      "openTime":1704067200000,"closeTime":1704067259999,
      "open":"50000.00000000","high":"50100.00000000","low":"49900.00000000",
      "close":"50050.00000000","volume":"10.50000000","isFinal":true}}]],
  not_sequenced = [[
    {"symbol":"BTCUSDT","interval":"5m","kline":{
      "openTime":1704067200000,"closeTime":1704067499999,
      "open":"50000.00","high":"50180.00","low":"49900.00","close":"50120.10",
      "volume":"55.1","isFinal":false}}]],
  combined_stream = [[
    {"stream":"ethusdt@kline_1m","data":{"e":"kline","E":1704067230123,"s":"ETHUSDT","k":{
      "t":1704067200000,"T":1704067259999,"s":"ETHUSDT","i":"1m","f":100,"L":200,
      "o":"2280.10","c":"2281.55","h":"2282.00","l":"2279.90","v":"311.2042",
      "n":101,"x":false,"q":"709911.1","V":"150.1","Q":"342410.2","B":"0"}}}]],
  raw_stream = [[
    {"e":"kline","E":1704067260010,"s":"BNBUSDT","seq":102,"k":{
      "t":1704067200000,"T":1704067259999,"s":"BNBUSDT","i":"1m",
      "o":"310.2","c":"310.4","h":"310.6","l":"310.1","v":"98.11","x":true}}]],
  raw_stream_seq_inside = [[
    {"e":"kline","E":1704067260010,"s":"SOLUSDT","k":{
      "t":1704067200000,"T":1704067259999,"s":"SOLUSDT","i":"1m",
      "o":"101.2","c":"101.4","h":"101.6","l":"101.1","v":"9811.5","x":true,"seq":103}}]],
  flat = [[
    {"s":"XRPUSDT","t":1704067200000,"T":1704067259999,
      "o":0.6152,"h":0.6160,"l":0.6150,"c":0.6157,"v":120034.0,"seq":104}]],

  unknown_interval = [[
    {"s":"XRPUSDT","i":"3m","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5}]],
  no_symbol_name = [[
    {"s":"XRP/USDT","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5}]],
  upside_down = [[
    {"s":"XRPUSDT","t":1704067200000,"o":1,"h":1,"l":2,"c":1,"v":5}]],
  negative_sequence = [[
    {"s":"xrpusdt","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":5,"seq":-1}]],
}
