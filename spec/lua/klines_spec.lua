local cjson = require "cjson"
local rules = require "spec.support.rules"

local MINUTE_MS = 60000
local NOW_MS = 1704067200000

-- `count` candles, one a minute, the last of which opens before `end_ms`.
local function candles(count, end_ms)
  local rows = {}
  for i = 1, count do
    rows[i] = {
      symbol = "BTCUSDT", open_ms = end_ms - (count - i + 1) * MINUTE_MS,
      open = 1, high = 2, low = 1, close = 2, volume = 3,
    }
  end
  return rows
end

describe("GET /api/v1/klines", function()
  local endpoint = rules.open({ now_ms = NOW_MS }):endpoint "endpoints.klines"

  local function ask(query, results)
    local full = { symbol = "BTCUSDT" }
    for name, value in pairs(query or {}) do full[name] = value or nil end
    return endpoint:call { query = full, results = results or { {}, {}, {}, {} } }
  end

  it("passes its own examples", function()
    assert.is_true(assert(endpoint:run_examples()))
  end)

  it("is there under both paths", function()
    assert.same({ "/api/v1/klines", "/v1/klines" }, endpoint.def.paths)
  end)

  it("refuses a question that it cannot read", function()
    local function refuses(query, message)
      local answer = ask(query)
      assert.equal(400, answer.status)
      assert.same({ error = message }, answer.body)
    end
    refuses({ symbol = false }, "Symbol is required")
    refuses({ interval = "2h" }, "interval must be one of 1m, 5m, 1h, 1d, 1w, 1M")
    refuses({ limit = "0" }, "limit must be a number between 1 and 1000")
    refuses({ ["end"] = "yesterday" }, "end must be a time in milliseconds")
    refuses({ ["end"] = "-1" }, "end must be a time in milliseconds")
    refuses({ ["end"] = "1704067200000000" }, "end must be a time in milliseconds")
  end)

  it("answers with the newest candles, oldest first", function()
    local answer = ask({ limit = "3" }, { candles(4, NOW_MS) })
    local opens = {}
    for i, candle in ipairs(answer.body.data) do opens[i] = candle.t end
    assert.same({ NOW_MS - 3 * MINUTE_MS, NOW_MS - 2 * MINUTE_MS, NOW_MS - MINUTE_MS }, opens)
    assert.equal(3, answer.body.count)
    assert.equal("BTCUSDT", answer.body.symbol)
    assert.equal("1m", answer.body.interval)
  end)

  it("says from where the older ones are to be had", function()
    local body = ask({ limit = "3" }, { candles(4, NOW_MS) }).body
    assert.is_true(body.hasMore)
    assert.equal(NOW_MS - 3 * MINUTE_MS, body.nextEnd)
  end)

  it("answers with an empty array for a symbol never seen", function()
    local answer = ask()
    assert.equal(200, answer.status)
    assert.matches('"data":%[%]', answer.text)
    assert.matches('"nextEnd":null', answer.text)
    assert.is_false(answer.body.hasMore)
  end)

  it("looks at the likely stretch of time first", function()
    local values = ask({ limit = "10" }, { candles(11, NOW_MS) }).asked[1]
    assert.equal(NOW_MS - 12 * MINUTE_MS, values[3])
    assert.equal(cjson.null, values[4])
    assert.equal(11, values[5])
  end)

  it("looks at all time only when that was not enough", function()
    local enough = ask({ limit = "10" }, { candles(11, NOW_MS) })
    assert.is_nil(enough.asked[3])

    local all = { candles(4, NOW_MS), nil, candles(11, NOW_MS) }
    local sparse = ask({ limit = "10" }, all)
    assert.is_table(sparse.asked[3])
    assert.equal(10, sparse.body.count)
    assert.is_true(sparse.body.hasMore)
  end)

  it("ends before `end`", function()
    local values = ask({ limit = "1", ["end"] = "1700000000000" }).asked[1]
    assert.equal(1700000000000, values[4])
    assert.equal(1700000000000 - 3 * MINUTE_MS, values[3])
  end)

  it("never looks before 1970", function()
    assert.equal(0, ask({ interval = "1M", ["end"] = "5" }).asked[2][3])
  end)

  it("reads 1m from market_klines and the others from klines", function()
    assert.is_nil(ask({ interval = "5m" }).asked[1])
    assert.equal("5m", ask({ interval = "5m" }).asked[2][2])
    assert.matches("from market_klines%s", endpoint.def.queries[1].sql)
    assert.matches("from klines%s", endpoint.def.queries[2].sql)
  end)
end)
