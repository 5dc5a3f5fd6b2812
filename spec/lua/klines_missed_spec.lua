local rules = require "spec.support.rules"

local OPEN_MS = 1704067200000

local function rows_with(sequences)
  local rows = {}
  for i, sequence in ipairs(sequences) do
    rows[i] = {
      sequence = sequence, symbol = "BTCUSDT", open_ms = OPEN_MS + 60000 * (i - 1),
      open = 50000, high = 50100, low = 49900, close = 50050, volume = 10.5,
    }
  end
  return rows
end

describe("GET /api/v1/klines/missed", function()
  local kit, endpoint

  before_each(function()
    kit = rules.open()
    endpoint = kit:endpoint "endpoints.klines_missed"
  end)

  -- Asks with `query` laid over a good question; the database has `sequences`.
  local function ask(query, sequences, ends)
    local full = { symbol = "BTCUSDT", fromSeq = "100", toSeq = "150" }
    for name, value in pairs(query or {}) do full[name] = value or nil end
    return endpoint:call {
      query = full,
      results = function(i)
        return i <= 2 and rows_with(sequences or {}) or { ends or {} }
      end,
    }
  end

  local function sequences_of(answer)
    local found = {}
    for i, entry in ipairs(answer.body.data) do found[i] = entry.seq end
    return found
  end

  it("passes its own examples", function()
    assert.is_true(assert(endpoint:run_examples()))
  end)

  it("is there under both paths", function()
    assert.same({ "/api/v1/klines/missed", "/v1/klines/missed" }, endpoint.def.paths)
  end)

  describe("refuses", function()
    local function refuses(query, message)
      local answer = ask(query)
      assert.equal(400, answer.status)
      assert.same({ error = message }, answer.body)
    end

    it("a question without a symbol", function()
      refuses({ symbol = false }, "Symbol is required")
      refuses({ symbol = "" }, "Symbol is required")
    end)

    it("a question without both ends", function()
      refuses({ fromSeq = false }, "fromSeq and toSeq are required")
      refuses({ toSeq = false }, "fromSeq and toSeq are required")
      refuses({ toSeq = "" }, "fromSeq and toSeq are required")
    end)

    it("ends that are no sequence numbers", function()
      for _, text in ipairs {
        "abc", "-1", "1.5", "1e3", "0x10", " 1", "+1", "1 ", "NaN", "9223372036854775808",
        "99999999999999999999999",
      } do
        refuses({ fromSeq = text }, "fromSeq and toSeq must be valid numbers")
        refuses({ toSeq = text }, "fromSeq and toSeq must be valid numbers")
      end
    end)

    it("a range that is empty or upside down", function()
      refuses({ fromSeq = "150" }, "fromSeq must be less than toSeq")
      refuses({ fromSeq = "151" }, "fromSeq must be less than toSeq")
      refuses({ fromSeq = "0150" }, "fromSeq must be less than toSeq")
      refuses({ fromSeq = "9223372036854775807", toSeq = "9223372036854775806" },
        "fromSeq must be less than toSeq")
    end)

    it("a limit that is no number or below 1", function()
      for _, text in ipairs { "abc", "0", "-5", "1.5", "" } do
        refuses({ limit = text }, "limit must be a number between 1 and 1000")
      end
    end)

    it("an interval that no table keeps", function()
      refuses({ interval = "3m" }, "interval must be one of 1m, 5m, 1h, 1d, 1w, 1M")
    end)

    it("for the first reason of several", function()
      refuses({ symbol = false, fromSeq = false, limit = "x" }, "Symbol is required")
      refuses({ fromSeq = "x", toSeq = false }, "fromSeq and toSeq are required")
      refuses({ fromSeq = "x", limit = "x" }, "fromSeq and toSeq must be valid numbers")
      refuses({ fromSeq = "200", limit = "x" }, "fromSeq must be less than toSeq")
      refuses({ limit = "x", interval = "x" }, "limit must be a number between 1 and 1000")
    end)
  end)

  describe("asks the database", function()
    it("for one row more than the page holds", function()
      assert.same({ "BTCUSDT", "1m", "100", "150", 101 }, ask().asked[1])
      assert.same({ "BTCUSDT", "1m", "100", "150", 8 }, ask({ limit = "7" }).asked[1])
    end)

    it("for a thousand at most", function()
      assert.equal(1001, ask({ limit = "1000" }).asked[1][5])
      assert.equal(1001, ask({ limit = "1001" }).asked[1][5])
      assert.equal(1001, ask({ limit = "99999999999999999999" }).asked[1][5])
    end)

    it("with the symbol in upper case", function()
      assert.equal("BTCUSDT", ask({ symbol = "btcusdt" }).asked[1][1])
    end)

    it("with sequences of any size, digit by digit", function()
      local answer = ask { fromSeq = "9007199254740993", toSeq = "9223372036854775807" }
      assert.equal("9007199254740993", answer.asked[1][3])
      assert.equal("9223372036854775807", answer.asked[1][4])
      assert.matches('"fromSeq":9007199254740993[,}]', answer.text)
      assert.matches('"toSeq":9223372036854775807[,}]', answer.text)
    end)

    it("in market_klines for 1m, in klines for the others", function()
      local minute = ask { interval = "1m" }
      assert.is_table(minute.asked[1])
      assert.is_nil(minute.asked[2])
      local day = ask { interval = "1d" }
      assert.is_nil(day.asked[1])
      assert.same({ "BTCUSDT", "1d", "100", "150", 101 }, day.asked[2])
      assert.matches("from market_klines%s", endpoint.def.queries[1].sql)
      assert.matches("from klines%s", endpoint.def.queries[2].sql)
    end)
  end)

  describe("answers", function()
    it("with the fields of the original", function()
      local body = ask({}, { 101 }, { oldest = 3, newest = 180 }).body
      assert.equal("BTCUSDT", body.symbol)
      assert.equal(100, body.fromSeq)
      assert.equal(150, body.toSeq)
      assert.equal(1, body.count)
      assert.equal(3, body.oldestSeq)
      assert.equal(180, body.newestSeq)
      assert.same({
        seq = 101, symbol = "BTCUSDT", timestamp = OPEN_MS,
        kline = {
          t = OPEN_MS, T = OPEN_MS + 60000, s = "BTCUSDT",
          o = 50000, h = 50100, l = 49900, c = 50050, v = 10.5,
        },
      }, body.data[1])
    end)

    it("with an empty array and nulls when there is nothing", function()
      local answer = ask({}, {})
      assert.equal(200, answer.status)
      assert.matches('"data":%[%]', answer.text)
      assert.matches('"oldestSeq":null', answer.text)
      assert.matches('"newestSeq":null', answer.text)
      assert.matches('"nextFromSeq":null', answer.text)
      assert.is_false(answer.body.hasMore)
      assert.equal(0, answer.body.count)
    end)

    it("with null where a column is NULL", function()
      local answer = endpoint:call {
        query = { symbol = "BTCUSDT", fromSeq = "0", toSeq = "9" },
        results = { { { sequence = 1, symbol = "BTCUSDT", open_ms = OPEN_MS } }, nil, { {} } },
      }
      assert.matches('"o":null', answer.text)
      assert.matches('"v":null', answer.text)
    end)

    it("with the close time of each interval", function()
      local lengths = {
        ["1m"] = 60000, ["5m"] = 300000, ["1h"] = 3600000, ["1d"] = 86400000, ["1w"] = 604800000,
        ["1M"] = 31 * 86400000, -- January
      }
      for interval, length_ms in pairs(lengths) do
        local kline = ask({ interval = interval }, { 101 }).body.data[1].kline
        assert.equal(OPEN_MS + length_ms, kline.T, interval)
      end
    end)

    it("with every digit of a sequence", function()
      local big = kit.cs.json.number "9007199254740993"
      local text = ask({ fromSeq = "1", toSeq = "9223372036854775807", limit = "1" },
        { big, kit.cs.json.number "9007199254740995" }).text
      assert.matches('"seq":9007199254740993[,}]', text)
      assert.matches('"nextFromSeq":9007199254740993[,}]', text)
    end)
  end)

  describe("pages", function()
    it("say that there is more, and from where", function()
      local answer = ask({ limit = "2" }, { 101, 103, 104 })
      assert.same({ 101, 103 }, sequences_of(answer))
      assert.equal(2, answer.body.count)
      assert.is_true(answer.body.hasMore)
      assert.equal(103, answer.body.nextFromSeq)
    end)

    it("say that there is no more when the rows just fit", function()
      local answer = ask({ limit = "2" }, { 101, 103 })
      assert.same({ 101, 103 }, sequences_of(answer))
      assert.is_false(answer.body.hasMore)
    end)

    it("end before a group of equal sequences that does not fit", function()
      local answer = ask({ limit = "3" }, { 101, 102, 103, 103, 103 })
      assert.same({ 101, 102 }, sequences_of(answer))
      assert.is_true(answer.body.hasMore)
      assert.equal(102, answer.body.nextFromSeq)
    end)

    it("end after a group of equal sequences that just fits", function()
      local answer = ask({ limit = "3" }, { 101, 103, 103, 104 })
      assert.same({ 101, 103, 103 }, sequences_of(answer))
      assert.equal(103, answer.body.nextFromSeq)
    end)

    it("hold a group whole that is larger than a page", function()
      local answer = ask({ limit = "2" }, { 101, 101, 101 })
      assert.same({ 101, 101, 101 }, sequences_of(answer))
      assert.is_true(answer.body.hasMore)
      assert.equal(101, answer.body.nextFromSeq)
    end)

    it("end with such a group when it is the end of the range", function()
      local answer = ask({ limit = "2" }, { 150, 150, 150 })
      assert.equal(3, answer.body.count)
      assert.is_false(answer.body.hasMore)
    end)

    it("keep groups apart whose sequences differ beyond 2^53 only", function()
      local number = kit.cs.json.number
      local answer = ask({ fromSeq = "1", toSeq = "9223372036854775807", limit = "1" },
        { number "9007199254740993", number "9007199254740994" })
      assert.equal(1, answer.body.count)
      answer = ask({ fromSeq = "1", toSeq = "9223372036854775807", limit = "1" },
        { number "9007199254740993", number "9007199254740993" })
      assert.equal(2, answer.body.count)
    end)
  end)

  it("logs the line of the original, at most once a second", function()
    for _ = 1, 3 do ask() end
    assert.same({
      {
        level = "info", component = "MarketController",
        text = "Fetching missed klines: BTCUSDT fromSeq:100 toSeq:150",
      },
    }, kit.lines)
  end)
end)
