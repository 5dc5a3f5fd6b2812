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

  -- What the ledger says when `pieces` ({ from, to, reason }) are missing.
  local function ledger_with(page_to, more, pieces)
    local rows = {}
    for i = 1, math.max(1, #pieces) do
      local piece = pieces[i] or {}
      rows[i] = { page_to = kit.cs.json.number(page_to), from_1 = 0, to_1 = 9000000000000000 }
      for name, value in pairs(more) do rows[i][name] = value end
      rows[i].from_seq, rows[i].to_seq, rows[i].reason = piece[1], piece[2], piece[3]
    end
    return rows
  end

  -- Asks with `query` laid over a good question; the database has `sequences`, the ledger `more`
  -- (oldest, newest, page_to, other windows) and what is missing.
  local function ask(query, sequences, more, missing)
    local full = { symbol = "BTCUSDT", fromSeq = "100", toSeq = "150" }
    for name, value in pairs(query or {}) do full[name] = value or nil end
    return endpoint:call {
      query = full,
      results = function(i, _, req)
        if i > 2 then return rows_with(sequences or {}) end
        local pieces = type(missing) == "function" and missing(req) or missing or {}
        return ledger_with(full.toSeq, more or {}, pieces)
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
    it("what the ledger knows of the whole range, before the rows", function()
      assert.same({ "BTCUSDT", "1m", "100", "150", "core-service-market-consumer", "market_data" },
        ask().asked[1])
    end)

    it("in the name of the group and the topic that the settings say", function()
      local function asked_with(env)
        kit = rules.open { env = env }
        endpoint = kit:endpoint "endpoints.klines_missed"
        local values = ask().asked[1]
        return { values[5], values[6] }
      end
      assert.same({ "a", "t" },
        asked_with { MARKET_CONSUMER_GROUP_ID = "a", KAFKA_GROUP_ID = "b",
          MARKET_DATA_TOPIC = "t" })
      assert.same({ "b", "market_data" }, asked_with { KAFKA_GROUP_ID = "b" })
    end)

    it("for one row more than the page holds", function()
      assert.equal(101, ask().asked[3][5])
      assert.equal(8, ask({ limit = "7" }).asked[3][5])
    end)

    it("for a thousand at most", function()
      assert.equal(1001, ask({ limit = "1000" }).asked[3][5])
      assert.equal(1001, ask({ limit = "1001" }).asked[3][5])
      assert.equal(1001, ask({ limit = "99999999999999999999" }).asked[3][5])
    end)

    it("for rows up to where the ledger ends the page, in its windows", function()
      local null = kit.cs.null
      assert.same({ "BTCUSDT", "1m", "100", 150, 101, 0, 9000000000000000, null, null, null, null },
        ask().asked[3])
      assert.same({ "BTCUSDT", "1m", "100", 120, 101, 5, 9, 20, 29, null, null },
        ask({}, {}, { page_to = 120, from_1 = 5, to_1 = 9, from_2 = 20, to_2 = 29 }).asked[3])
    end)

    it("with the symbol in upper case", function()
      assert.equal("BTCUSDT", ask({ symbol = "btcusdt" }).asked[1][1])
    end)

    it("with sequences of any size, digit by digit", function()
      local answer = ask { fromSeq = "9007199254740993", toSeq = "9223372036854775807" }
      for _, i in ipairs { 1, 3 } do
        assert.equal("9007199254740993", tostring(answer.asked[i][3]))
        assert.equal("9223372036854775807", tostring(answer.asked[i][4]))
      end
      assert.matches('"fromSeq":9007199254740993[,}]', answer.text)
      assert.matches('"toSeq":9223372036854775807[,}]', answer.text)
    end)

    it("in market_klines for 1m, in klines for the others", function()
      local minute = ask { interval = "1m" }
      assert.is_table(minute.asked[3])
      assert.is_nil(minute.asked[4])
      local day = ask { interval = "1d" }
      assert.is_nil(day.asked[3])
      assert.equal("1d", day.asked[4][2])
      assert.matches("from market_klines%s", endpoint.def.queries[3].sql)
      assert.matches("from klines%s", endpoint.def.queries[4].sql)
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
        results = {
          ledger_with("9", {}, {}), nil,
          { { sequence = 1, symbol = "BTCUSDT", open_ms = OPEN_MS } },
        },
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

  describe("pages of a table with partitions", function()
    it("end where the ledger ends them", function()
      local body = ask({}, { 101, 105 }, { page_to = 120 }).body
      assert.equal(2, body.count)
      assert.is_true(body.hasMore)
      assert.equal(120, body.nextFromSeq)
    end)

    it("may be empty", function()
      local body = ask({}, {}, { page_to = 149 }).body
      assert.equal(0, body.count)
      assert.is_true(body.hasMore)
      assert.equal(149, body.nextFromSeq)
    end)

    it("end at the limit when that comes first", function()
      local body = ask({ limit = "1" }, { 101, 105 }, { page_to = 120 }).body
      assert.equal(101, body.nextFromSeq)
    end)

    it("go on behind a group larger than a page that ends where the ledger says", function()
      local body = ask({ limit = "1" }, { 120, 120 }, { page_to = 120 }).body
      assert.equal(2, body.count)
      assert.equal(120, body.nextFromSeq)
    end)
  end)

  describe("says what is missing", function()
    it("when nothing is", function()
      local answer = ask({}, { 101 })
      assert.matches('"missing":%[%]', answer.text)
      assert.is_true(answer.body.complete)
    end)

    it("and why, for the whole range, on every page", function()
      local body = ask({ limit = "1" }, { 101, 105 }, {},
        { { 100, 103, "expired" }, { 110, 111, "rejected" }, { 140, 150, "not_ingested" } }).body
      assert.is_false(body.complete)
      assert.is_true(body.hasMore)
      assert.same({
        { fromSeq = 100, toSeq = 103, reason = "expired" },
        { fromSeq = 110, toSeq = 111, reason = "rejected" },
        { fromSeq = 140, toSeq = 150, reason = "not_ingested" },
      }, body.missing)
    end)

    it("with every digit", function()
      local number = kit.cs.json.number
      local text = ask({ toSeq = "9223372036854775807" }, {}, {},
        { { number "9007199254740993", number "9223372036854775807", "lost" } }).text
      assert.matches('{"fromSeq":9007199254740993,"reason":"lost","toSeq":9223372036854775807}',
        text, 1, true)
    end)
  end)

  describe("with `wait`", function()
    -- All is there once the request has waited so long.
    local function there_after(ms)
      return function(req)
        return req.waited_ms < ms and { { 140, 150, "not_ingested" } } or {}
      end
    end

    it("refuses what is no time or too long", function()
      for _, text in ipairs { "abc", "-1", "1.5", "2001", "", "99999999999999999999" } do
        local answer = ask { wait = text }
        assert.equal(400, answer.status)
        assert.same({ error = "wait must be a number between 0 and 2000" }, answer.body)
      end
    end)

    it("holds the answer until everything is there", function()
      local answer = ask({ wait = "2000" }, { 101 }, {}, there_after(300))
      assert.is_true(answer.body.complete)
      assert.equal(1, answer.body.count)
      assert.is_true(answer.waited_ms >= 300 and answer.waited_ms < 450)
    end)

    it("answers when the time is up", function()
      local answer = ask({ wait = "250" }, { 101 }, {}, there_after(300))
      assert.is_false(answer.body.complete)
      assert.equal(250, answer.waited_ms)
    end)

    it("answers at once when everything is there, or without it", function()
      assert.equal(0, ask({ wait = "2000" }, {}, {}, {}).waited_ms)
      assert.equal(0, ask({ wait = "0" }, {}, {}, there_after(300)).waited_ms)
      assert.equal(0, ask({}, {}, {}, there_after(300)).waited_ms)
    end)

    it("answers at once when something is missing for good", function()
      local pieces = { { 110, 111, "rejected" }, { 140, 150, "not_ingested" } }
      assert.equal(0, ask({ wait = "2000" }, {}, {}, pieces).waited_ms)
    end)

    it("answers when the host has no more time", function()
      local answer = endpoint:call {
        query = { symbol = "BTCUSDT", fromSeq = "100", toSeq = "150", wait = "2000" },
        is_final = true,
        results = function(i)
          return i > 2 and {} or ledger_with("150", {}, { { 100, 150, "not_ingested" } })
        end,
      }
      assert.equal(20, answer.waited_ms)
      assert.is_false(answer.body.complete)
    end)

    it("reads rows only once", function()
      local times = 0
      endpoint:call {
        query = { symbol = "BTCUSDT", fromSeq = "100", toSeq = "150", wait = "1000" },
        results = function(i)
          if i <= 2 then return ledger_with("150", {}, { { 100, 150, "not_ingested" } }) end
          times = times + 1
          return {}
        end,
      }
      assert.equal(1, times)
    end)
  end)

  it("leaves oldestSeq and newestSeq out of the ETag", function()
    local before = ask({}, { 101 }, { oldest = 1, newest = 101 })
    local after = ask({}, { 101 }, { oldest = 2, newest = 999 })
    assert.equal(before.lasting, after.lasting)
    assert.are_not.equal(before.text, after.text)
    assert.are_not.equal(before.lasting, ask({}, { 102 }, { oldest = 1, newest = 101 }).lasting)
  end)

  it("logs the line of the original, at most once a second", function()
    for _ = 1, 3 do ask() end
    assert.same({
      {
        level = "info", component = "MarketController",
        text = "Fetching missed klines: BTCUSDT fromSeq:100 toSeq:150", request = "spec",
      },
    }, kit.lines)
  end)
end)
