local cjson = require "cjson"
local rules = require "spec.support.rules"

local TIME_MS = 1704067200000

-- A valid message with some of its members replaced; cjson.null leaves one out.
local function insight(changes)
  local message = { symbol = "BTCUSDT", time = TIME_MS, summary = "It may rise." }
  for name, value in pairs(changes or {}) do message[name] = value end
  return cjson.encode(message)
end

describe("insights", function()
  local stream = rules.open():stream "streams.insights"
  local function map(changes) return stream:map(insight(changes)) end
  local function row(changes)
    local result = map(changes)
    assert.is_table(result.rows, result.reject)
    return result.rows.ai_insights[1]
  end

  it("pass their own examples", function()
    assert.is_true(assert(stream:run_examples()))
  end)

  it("come from the topic that the environment names", function()
    assert.equal("ai_insights", stream.topic)
    local elsewhere = rules.open { env = { INSIGHTS_TOPIC = "i" } }
    assert.equal("i", elsewhere:stream("streams.insights").topic)
  end)

  it("are live where their table exists", function()
    assert.is_true(stream.def.optional)
  end)

  it("are one row however often they come", function()
    assert.same({ "symbol", "kind", "time" }, stream.def.tables.ai_insights.key)
    assert.same(row {}, row {})
  end)

  it("carry their own time, as a message that comes again must have the same", function()
    local result = stream:map(insight { time = cjson.null }, { timestamp = TIME_MS })
    assert.equal("no shape fits: 1 lacks time", result.reject)
    for _, name in ipairs { "time", "created_at", "createdAt", "timestamp" } do
      local changes = { time = cjson.null }
      changes[name] = "2024-01-01T00:00:00Z"
      assert.equal(TIME_MS, row(changes).time)
    end
  end)

  it("are of a kind, in lower case", function()
    assert.equal("general", row({}).kind)
    assert.equal("risk", row({ kind = "Risk" }).kind)
    assert.equal("risk", row({ type = "risk" }).kind)
    assert.equal("kind: is longer than 100 bytes", map({ kind = ("x"):rep(101) }).reject)
  end)

  it("are about a symbol", function()
    assert.equal("ETHUSDT", row({ symbol = "ethusdt" }).symbol)
    assert.equal("symbol: is empty", map({ symbol = "" }).reject)
  end)

  it("keep their details as they came", function()
    local details = '{"levels":[1.50,12345678901234567890],"none":[]}'
    local message = insight({ details = "DETAILS" }):gsub('"DETAILS"', details)
    assert.equal(details, stream:map(message).rows.ai_insights[1].details)
  end)

  it("are refused with a confidence that is none", function()
    assert.equal("confidence: -0.1 is below 0", map({ confidence = -0.1 }).reject)
    assert.equal("confidence: 80 is above 1", map({ confidence = "80" }).reject)
  end)
end)

describe("The endpoints of insights", function()
  local kit = rules.open()
  local list = kit:endpoint "endpoints.insights"
  local latest = kit:endpoint "endpoints.insights_latest"
  local null = kit.cs.null

  local ROW = { symbol = "BTCUSDT", kind = "trend", summary = "It may rise.", time_ms = TIME_MS }

  it("pass their own examples", function()
    assert.is_true(assert(list:run_examples()))
    assert.is_true(assert(latest:run_examples()))
  end)

  it("are there under both paths", function()
    assert.same({ "/api/v1/insights", "/v1/insights" }, list.def.paths)
    assert.same({ "/api/v1/insights/latest/:symbol", "/v1/insights/latest/:symbol" },
      latest.def.paths)
  end)

  for name, endpoint in pairs { ["the list"] = list, ["the latest"] = latest } do
    describe("of which " .. name, function()
      local function status_with(claims)
        return endpoint:call {
          claims = claims, params = { symbol = "BTCUSDT" }, results = { { ROW } },
        }.status
      end

      it("is for VIP members when requests carry a token", function()
        assert.equal(200, status_with { is_vip = true })
        for _, claims in ipairs {
          {}, { is_vip = false }, { is_vip = "true" }, { is_vip = 1 }, { is_vip = null },
        } do
          assert.equal(403, status_with(claims))
        end
      end)

      it("is for everybody without authentication", function()
        assert.equal(200, status_with(nil))
      end)

      it("says nothing about a wrong question to others", function()
        local answer = endpoint:call { claims = {}, query = { limit = "x" }, params = {} }
        assert.equal(403, answer.status)
        assert.same({ error = "Insights are for VIP members" }, answer.body)
      end)
    end)
  end

  it("look for a symbol and a kind", function()
    local query = { symbol = "btcusdt", kind = "Trend", limit = "5" }
    assert.same({ 6, null, "", "BTCUSDT", "trend" },
      list:call({ query = query, results = { {} } }).asked[1])
    local params = { symbol = "btcusdt" }
    assert.same({ "BTCUSDT", null }, latest:call({ params = params, results = { {} } }).asked[1])
    assert.same({ "BTCUSDT", "trend" },
      latest:call({ params = params, query = query, results = { {} } }).asked[1])
  end)

  it("have every field of an insight, null where there is nothing", function()
    local expected = {
      symbol = "BTCUSDT", kind = "trend", time = TIME_MS, summary = "It may rise.",
      confidence = cjson.null, details = cjson.null,
    }
    assert.same(expected, list:call({ results = { { ROW } } }).body.data[1])
    assert.same(expected,
      latest:call({ params = { symbol = "BTCUSDT" }, results = { { ROW } } }).body)
  end)

  it("say that there is no latest", function()
    local answer = latest:call { params = { symbol = "nosuch" }, results = { {} } }
    assert.equal(404, answer.status)
    assert.same({ error = "There is no insight about NOSUCH" }, answer.body)
  end)
end)
