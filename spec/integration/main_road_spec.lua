-- From Kafka into PostgreSQL and out over HTTP, with everything real.
local road = require "spec.support.road"

local MINUTE = 60000
local T = 1704067200000

local function fixture()
  local messages = {}
  for line in io.lines "spec/fixtures/market_data.jsonl" do
    messages[#messages + 1] = line
  end
  return messages
end

-- A flat message.
local function flat(symbol, time, close, seq)
  return ('{"s":"%s","t":%d,"o":1,"h":%s,"l":1,"c":%s,"v":2%s}'):format(symbol, time, close, close,
    seq and (',"seq":%d'):format(seq) or "")
end

local market_klines = [[
  SELECT symbol, (extract(epoch FROM time) * 1000)::bigint AS ms, open, high, low, close, volume,
    sequence FROM market_klines ORDER BY symbol, time]]

local function numbers(rows)
  for _, row in ipairs(rows) do
    for name, text in pairs(row) do
      row[name] = tonumber(text) or text
    end
  end
  return rows
end

describe("the main road", function()
  local r

  lazy_setup(function()
    r = road.open()
  end)
  lazy_teardown(function()
    if r then r:close() end
  end)

  it("stores every shape that producers send", function()
    r:send(fixture())
    assert.are.same({
      { symbol = "BNBUSDT", ms = T, open = 310.2, high = 310.6, low = 310.1, close = 310.4,
        volume = 98.11, sequence = 102 },
      { symbol = "BTCUSDT", ms = T, open = 50000, high = 50100, low = 49900, close = 50050,
        volume = 10.5, sequence = 101 },
      { symbol = "ETHUSDT", ms = T, open = 2280.1, high = 2282, low = 2279.9, close = 2281.55,
        volume = 311.2042 },
      { symbol = "SOLUSDT", ms = T, open = 101.2, high = 101.6, low = 101.1, close = 101.4,
        volume = 9811.5, sequence = 103 },
      { symbol = "XRPUSDT", ms = T, open = 0.6152, high = 0.616, low = 0.615, close = 0.6157,
        volume = 120034, sequence = 104 },
    }, numbers(r.database:rows(market_klines)))
    assert.are.same({
      { symbol = "BTCUSDT", interval = "5m", close = 50120.1 },
    }, numbers(r.database:rows "SELECT symbol, interval, close, sequence FROM klines"))
    assert.are.same({}, r:rejected())
  end)

  it("answers what was missed, as the original did", function()
    local answer = r:missed "symbol=BTCUSDT&fromSeq=100&toSeq=150"
    assert.are.equal(200, answer.status)
    local body = answer.json
    assert.are.equal("BTCUSDT", body.symbol)
    assert.are.equal(100, body.fromSeq)
    assert.are.equal(150, body.toSeq)
    assert.are.equal(1, body.count)
    assert.are.same({
      {
        seq = 101, symbol = "BTCUSDT", timestamp = T,
        kline = { t = T, T = T + MINUTE, s = "BTCUSDT", o = 50000, h = 50100, l = 49900,
          c = 50050, v = 10.5 },
      },
    }, body.data)
  end)

  it("takes the symbol in lower case and the shorter path", function()
    local answer = r.service:get "/v1/klines/missed?symbol=btcusdt&fromSeq=100&toSeq=101"
    assert.are.equal(200, answer.status)
    assert.are.equal(1, answer.json.count)
    assert.are.equal("BTCUSDT", answer.json.symbol)
  end)

  it("leaves out fromSeq and includes toSeq", function()
    assert.are.equal(0, r:missed("symbol=BTCUSDT&fromSeq=101&toSeq=150").json.count)
    assert.are.equal(1, r:missed("symbol=BTCUSDT&fromSeq=0&toSeq=101").json.count)
    assert.are.equal(0, r:missed("symbol=BTCUSDT&fromSeq=0&toSeq=100").json.count)
  end)

  it("answers a symbol that it never saw with no rows", function()
    local answer = r:missed "symbol=NOSUCH&fromSeq=1&toSeq=2"
    assert.are.equal(200, answer.status)
    assert.is_truthy(answer.body:find('"data":[]', 1, true), answer.body)
    assert.are.equal(0, answer.json.count)
  end)

  for query, text in pairs {
    ["fromSeq=1&toSeq=2"] = "Symbol is required",
    ["symbol=BTCUSDT&toSeq=2"] = "fromSeq and toSeq are required",
    ["symbol=BTCUSDT&fromSeq=a&toSeq=2"] = "fromSeq and toSeq must be valid numbers",
    ["symbol=BTCUSDT&fromSeq=2&toSeq=2"] = "fromSeq must be less than toSeq",
    ["symbol=BTCUSDT&fromSeq=1&toSeq=2&limit=0"] = "limit must be a number between 1 and 1000",
  } do
    it(("refuses %s with the original's words"):format(query), function()
      local answer = r:missed(query)
      assert.are.equal(400, answer.status)
      assert.are.same({ error = text }, answer.json)
    end)
  end

  it("keeps the newer candle when an older message is replayed", function()
    local time = T + 5 * MINUTE
    r:send { flat("REPLAY", time, 5, 500), flat("REPLAY", time, 4, 499), flat("REPLAY", time, 9) }
    local rows = r.database:rows(
      "SELECT close, sequence FROM market_klines WHERE symbol = 'REPLAY'")
    assert.are.same({ { close = "5", sequence = "500" } }, rows)
  end)

  it("takes the later of two messages with one number", function()
    r:send { flat("TWICE", T, 5, 7), flat("TWICE", T, 6, 7) }
    assert.are.equal("6", r.database:value "SELECT close FROM market_klines WHERE symbol = 'TWICE'")
  end)

  it("keeps sequences exact beyond 2^53", function()
    local seq = "9007199254740993"
    r:send { ('{"s":"BIGUSDT","t":%d,"o":1,"h":1,"l":1,"c":1,"v":1,"seq":%s}'):format(T, seq) }
    assert.are.equal(seq,
      r.database:value "SELECT sequence FROM market_klines WHERE symbol = 'BIGUSDT'")
    local answer = r:missed("symbol=BIGUSDT&fromSeq=9007199254740992&toSeq=" .. seq)
    assert.is_truthy(answer.body:find('"seq":' .. seq, 1, true), answer.body)
    assert.is_truthy(answer.body:find('"toSeq":' .. seq, 1, true), answer.body)
  end)

  it("writes the lines that operators look for", function()
    r.service:wait_for_log "[MarketDataConsumerV2] Saved "
    local log = r.service:text()
    assert.is_truthy(log:find "%[MarketDataConsumerV2%] Saved %d+ klines with sequences")
    assert.is_truthy(log:find(
      "[MarketController] Fetching missed klines: BTCUSDT fromSeq:100 toSeq:150", 1, true))
  end)

  it("commits to Kafka what it has stored when it is stopped, and goes on there", function()
    local _, last = r.broker:watermarks(r.topic)
    r.service:stop()
    assert.are.equal(last, r.broker:committed(r.group, r.topic))
    r.service:start()
    r:send { flat("AFTER", T, 3, 900) }
    assert.are.equal("900",
      r.database:value "SELECT sequence FROM market_klines WHERE symbol = 'AFTER'")
  end)
end)

describe("a bad message", function()
  local r

  before_each(function()
    r = road.open()
  end)
  after_each(function()
    if r then r:close() end
  end)

  local function stored()
    local list = {}
    for i, row in ipairs(r.database:rows "SELECT symbol FROM market_klines ORDER BY symbol") do
      list[i] = row.symbol
    end
    return list
  end

  it("costs itself only, and is kept as it came", function()
    local bad = {
      { "{", "decode" },
      { "[]", "decode" },
      { '{"some":"thing else"}', "decode" },
      { "\255\254", "decode" },
      { '{"s":"LOWUSDT","t":1704067200000,"o":1,"h":1,"l":2,"c":1,"v":1}', "map" },
      { '{"s":"LOWUSDT","i":"3m","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":1}', "map" },
      { '{"s":"LOWUSDT","t":1704067200000,"o":1,"h":2,"l":1,"c":1,"v":1,"seq":-7}', "map" },
    }
    local messages, expected = { flat("AAA", T, 1, 1) }, {}
    for i, case in ipairs(bad) do
      messages[#messages + 1] = { value = case[1], key = "key" .. i }
      messages[#messages + 1] = flat("B" .. i, T, 1, 1 + i)
      expected[i] = { offset = tostring(2 * i - 1), stage = case[2], key = "key" .. i }
    end
    r:send(messages)

    assert.are.same({ "AAA", "B1", "B2", "B3", "B4", "B5", "B6", "B7" }, stored())
    local found = {}
    local rows = r.database:rows [[
      SELECT "offset", stage, reason, convert_from(key, 'UTF8') AS key,
        encode(payload, 'hex') AS payload, rules_hash, stream, topic
      FROM rejected_messages ORDER BY "offset"]]
    for i, row in ipairs(rows) do
      found[i] = { offset = row.offset, stage = row.stage, key = row.key }
      assert.are.equal((bad[i][1]:gsub(".", function(c)
        return ("%02x"):format(c:byte())
      end)), row.payload)
      assert.is_true(#row.reason > 0)
      assert.is_true(#row.rules_hash > 0)
      assert.are.equal("MarketDataConsumerV2", row.stream)
      assert.are.equal(r.topic, row.topic)
    end
    assert.are.same(expected, found)
  end)

  it("is no message at all when it is a tombstone", function()
    r:send { flat("AAA", T, 1, 1), { key = "AAA_1m" }, flat("BBB", T, 1, 2) }
    assert.are.same({ "AAA", "BBB" }, stored())
    assert.are.same({}, r:rejected())
  end)

  it("is found among its neighbours when only the database refuses it", function()
    r.database:exec "ALTER TABLE market_klines ADD CONSTRAINT sane CHECK (close < 1000)"
    local messages = {}
    for i = 1, 200 do
      messages[i] = flat(("S%03d"):format(i), T, i == 77 and 5000 or 10, i)
    end
    r:send(messages)
    assert.are.equal(199, #stored())
    local rejected = r:rejected()
    assert.are.equal(1, #rejected)
    assert.are.equal("76", rejected[1].offset)
    assert.are.equal("database", rejected[1].stage)
    assert.are.equal("23514", rejected[1].sqlstate)
    assert.are.equal(messages[77], rejected[1].text)
    assert.are.equal("77", rejected[1].sequence)
    assert.are.equal("S077", rejected[1].symbol)
  end)

  it("does not take a good older update of its candle with it", function()
    r.database:exec "ALTER TABLE market_klines ADD CONSTRAINT sane CHECK (close < 1000)"
    r.service:stop()
    r.broker:send_all(r.topic, { flat("AAA", T, 10, 1), flat("AAA", T, 5000, 2) })
    r.service:start()
    r:wait_ingested()
    assert.are.same({ { close = "10", sequence = "1" } },
      r.database:rows "SELECT close, sequence FROM market_klines")
    assert.are.equal(1, #r:rejected())
  end)
end)
