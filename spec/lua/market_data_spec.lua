local cjson = require "cjson"
local rules = require "spec.support.rules"

local function fixture_lines()
  local lines = {}
  for line in io.lines "spec/fixtures/market_data.jsonl" do lines[#lines + 1] = line end
  return lines
end

-- A valid flat message with some of its members replaced; cjson.null leaves one out.
local function flat(changes)
  local message = {
    s = "BTCUSDT", t = 1704067200000, o = "10", h = "12", l = "9", c = "11", v = "3", seq = 7,
  }
  for name, value in pairs(changes) do message[name] = value end
  return cjson.encode(message)
end

describe("market_data, both consumers", function()
  local kit = rules.open { modules = { "streams.market_data" } }
  local streams = {
    original = kit:stream "streams.market_data",
    V2 = kit:stream "streams.market_data_v2",
  }

  for version, stream in pairs(streams) do
    local function map(changes) return stream:map(flat(changes)) end

    describe("(" .. version .. ")", function()
      it("passes its own examples", function()
        assert.is_true(assert(stream:run_examples()))
      end)

      it("reads every message of the fixture", function()
        for _, line in ipairs(fixture_lines()) do
          assert.is_table(stream:map(line).rows, line)
        end
      end)

      it("takes the topic from the environment", function()
        local elsewhere = rules.open {
          env = { MARKET_DATA_TOPIC = "candles" },
          modules = { "streams.market_data" },
        }
        assert.equal("market_data", stream.topic)
        assert.equal("candles", elsewhere:stream("streams.market_data").topic)
        assert.equal("candles", elsewhere:stream("streams.market_data_v2").topic)
      end)

      it("upper-cases the symbol", function()
        assert.equal("BTCUSDT", map({ s = "btcUsdt" }).rows.market_klines[1].symbol)
      end)

      it("refuses what is no symbol", function()
        assert.equal("symbol: is empty", map({ s = "" }).reject)
        assert.equal("symbol: is longer than 20 bytes", map({ s = ("A"):rep(21) }).reject)
        for _, name in ipairs { "BTC USDT", "BTC/USDT", "BTC\nUSDT", "B\195\132R" } do
          assert.equal("symbol: only A-Z, 0-9 and _ . - are allowed", map({ s = name }).reject)
        end
      end)

      it("accepts the longest symbol and every character allowed", function()
        local name = "AZ09_.-" .. ("X"):rep(13)
        assert.equal(name, map({ s = name }).rows.market_klines[1].symbol)
      end)

      it("keeps 1m and candles without an interval in market_klines", function()
        assert.is_table(map({}).rows.market_klines)
        assert.is_table(map({ i = "1m" }).rows.market_klines)
        assert.is_table(map({ i = cjson.null }).rows.market_klines)
      end)

      it("keeps the other intervals in klines", function()
        for _, interval in ipairs { "5m", "1h", "1d", "1w", "1M" } do
          local rows = map({ i = interval }).rows
          assert.equal(interval, rows.klines[1].interval)
          assert.is_nil(rows.market_klines)
        end
      end)

      it("refuses an interval that no table keeps", function()
        for _, interval in ipairs { "3m", "", "1H", "1 m" } do
          assert.equal(("interval: %s is none of 1m, 5m, 1h, 1d, 1w, 1M"):format(interval),
            map({ i = interval }).reject)
        end
      end)

      it("refuses what cannot be a candle", function()
        assert.equal("high: 8 is below low, 9", map({ h = 8 }).reject)
        assert.equal("volume: -0.5 is below 0", map({ v = "-0.5" }).reject)
        assert.equal("open: -1 is below 0", map({ o = -1 }).reject)
        assert.equal("low: -0.001 is below 0", map({ l = "-0.001" }).reject)
        assert.equal("time: -1 is below 0", map({ t = -1 }).reject)
      end)

      it("refuses a time in a wrong unit", function()
        assert.equal("time: 1704067200000000 is above 253402300799999",
          stream:map('{"s":"X","t":1704067200000000,"o":1,"h":1,"l":1,"c":1,"v":1}').reject)
        assert.equal("time: 1704067200000000000 is above 253402300799999",
          stream:map('{"s":"X","t":1704067200000000000,"o":1,"h":1,"l":1,"c":1,"v":1}').reject)
      end)

      it("accepts what is odd but can be a candle", function()
        assert.is_table(map({ o = 20 }).rows) -- opened at the previous close
        assert.is_table(map({ v = 0 }).rows)
        assert.is_table(map({ o = 0, h = 0, l = 0, c = 0 }).rows)
        assert.is_table(map({ t = 1704067200001 }).rows)
      end)

      it("says which value is of the wrong type, and where", function()
        local result = map({ o = "ten" })
        assert.equal("decode", result.stage)
        assert.matches('^o: expected float8, found "ten" %(byte %d+%)$', result.reject)
      end)

      it("names the symbol and sequence of a message that it refuses", function()
        local result = map({ v = -1 })
        assert.equal("BTCUSDT", result.symbol)
        assert.equal(7, result.sequence)
        result = map({ v = "much" })
        assert.equal("BTCUSDT", result.symbol)
        assert.equal(7, result.sequence)
      end)

      it("refuses JSON of no known shape and text that is no JSON", function()
        assert.equal("no shape fits: 1 lacks kline.close, 2 lacks data.k.c, 3 lacks k.c, 4 lacks c",
          stream:map("{}").reject)
        assert.matches("^not JSON", stream:map("candles!").reject)
        assert.equal("decode", stream:map("[]").stage)
      end)

      it("passes over a tombstone", function()
        assert.equal("tombstone", stream:map(nil).skip)
      end)
    end)
  end
end)

describe("market_data, the original consumer", function()
  local stream = rules.open { modules = { "streams.market_data" } }:stream "streams.market_data"

  it("has its name and its line", function()
    assert.equal("MarketDataConsumer", stream.name)
    assert.equal("Saved %d klines", stream.def.saved)
  end)

  it("leaves the sequence of the table alone", function()
    assert.is_nil(stream.def.tables.market_klines.columns.sequence)
    assert.is_nil(stream.def.tables.klines.columns.sequence)
  end)

  it("lets the later message win", function()
    assert.is_nil(stream.def.tables.market_klines.newer)
    assert.is_nil(stream.def.tables.klines.newer)
  end)

  it("does not mind a sequence that it does not store", function()
    assert.is_table(stream:map(flat { seq = -1 }).rows)
  end)
end)

describe("market_data, V2", function()
  local stream = rules.open():stream "streams.market_data_v2"
  local function sequence_of(seq)
    local text = flat({ seq = "SEQ" }):gsub('"SEQ"', seq)
    local result = stream:map(text)
    return result.rows and result.rows.market_klines[1].sequence, result.reject
  end

  it("has its name and the original's line", function()
    assert.equal("MarketDataConsumerV2", stream.name)
    assert.equal("Saved %d klines with sequences", stream.def.saved)
  end)

  it("lets the greater sequence win and tracks each series", function()
    local tables = stream.def.tables
    assert.equal("sequence", tables.market_klines.newer)
    assert.same({ "symbol" }, tables.market_klines.track.by)
    assert.equal("sequence", tables.klines.newer)
    assert.same({ "symbol", "interval" }, tables.klines.track.by)
  end)

  it("says whose number is missing, unless nobody can tell", function()
    local function series_of(more, key)
      return stream:map(flat(more), { key = key }).series
    end
    assert.same({ table = "market_klines", series = "BTCUSDT" }, series_of { v = -1 })
    assert.same({ table = "klines", series = "BTCUSDT/5m" }, series_of { v = -1, i = "5m" })
    assert.same({ table = "market_klines", series = "BTCUSDT" }, series_of { v = "x" })
    assert.is_nil(series_of { i = 5 }) -- an interval, but which?
    assert.is_nil(series_of { i = "3m" })
    assert.same({ table = "klines", series = "BTCUSDT/5m" }, series_of({ i = 5 }, "BTCUSDT_5m"))
  end)

  it("finds the sequence beside the candle or in it", function()
    local k = '"k":{"s":"X","t":0,"o":1,"h":1,"l":1,"c":1,"v":1%s}'
    for _, message in ipairs {
      '{"seq":5,' .. k:format("") .. "}",
      "{" .. k:format(',"seq":5') .. "}",
      '{"seq":5,"data":{' .. k:format("") .. "}}",
      '{"data":{"seq":5,' .. k:format("") .. "}}",
      '{"data":{' .. k:format(',"seq":5') .. "}}",
    } do
      assert.equal(5, stream:map(message).rows.market_klines[1].sequence, message)
    end
  end)

  it("stores a message without a sequence", function()
    assert.is_nil((sequence_of("null")))
    assert.is_table(stream:map(flat { seq = cjson.null }).rows)
  end)

  it("keeps every digit of a sequence", function()
    assert.equal(9007199254740992, (sequence_of("9007199254740992")))
    assert.equal("9007199254740993", (sequence_of("9007199254740993")))
    assert.equal("9223372036854775807", (sequence_of('"9223372036854775807"')))
  end)

  it("refuses what is no sequence", function()
    local function reason(seq) return select(2, sequence_of(seq)) end
    assert.equal("seq: -1 is below 0", reason("-1"))
    assert.equal("seq: -9223372036854775808 is below 0", reason("-9223372036854775808"))
    for _, seq in ipairs { "1.5", "5.0", "1e3", '"12x"', "9223372036854775808", "true", "{}" } do
      assert.matches("^seq: expected int8, found ", reason(seq))
    end
  end)
end)
