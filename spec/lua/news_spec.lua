local cjson = require "cjson"
local rules = require "spec.support.rules"

local TIME_MS = 1704067200000
local KEY = ("0123456789abcdef"):rep(4)

-- A valid message with some of its members replaced; cjson.null leaves one out.
local function article(changes)
  local message = {
    url = "https://news.example/a", title = "Bitcoin climbs", published_at = TIME_MS,
  }
  for name, value in pairs(changes or {}) do message[name] = value end
  return cjson.encode(message)
end

describe("news", function()
  local stream = rules.open():stream "streams.news"
  local function map(changes, meta) return stream:map(article(changes), meta) end
  local function row(changes, meta)
    local result = map(changes, meta)
    assert.is_table(result.rows, result.reject)
    return result.rows.news_sentiment[1]
  end

  it("pass their own examples", function()
    assert.is_true(assert(stream:run_examples()))
  end)

  it("come from the topic that the environment names", function()
    assert.equal("news_analyzed", stream.topic)
    assert.equal("n", rules.open { env = { NEWS_TOPIC = "n" } }:stream("streams.news").topic)
  end)

  it("are live where their table exists", function()
    assert.is_true(stream.def.optional)
    assert.same({ "url" }, stream.def.tables.news_sentiment.key)
  end)

  it("need a url and a title", function()
    assert.equal("no shape fits: 1 lacks url", map({ url = cjson.null }).reject)
    assert.equal("no shape fits: 1 lacks title", map({ title = cjson.null }).reject)
  end)

  it("are refused when the url is none, or too long for its index", function()
    for _, url in ipairs { "", "news.example/a", "https://", "javascript:alert(1)" } do
      assert.equal("url: begins with neither http:// nor https://", map({ url = url }).reject)
    end
    local longest = "https://" .. ("x"):rep(1992)
    assert.equal(longest, row({ url = longest }).url)
    assert.equal("url: is longer than 2000 bytes", map({ url = longest .. "x" }).reject)
  end)

  it("tell their time in milliseconds or as ISO 8601", function()
    for _, time in ipairs {
      TIME_MS, "1704067200000", "2024-01-01", "2024-01-01T00:00:00Z",
      "2024-01-01T02:00:00.000+02:00",
    } do
      assert.equal(TIME_MS, row({ published_at = time }).published_at)
    end
  end)

  it("are refused with a time that is none", function()
    for _, time in ipairs { "soon", "", 1704067200, "1704067200", TIME_MS + 0.5, true, {} } do
      assert.matches("^published_at: .+ is neither milliseconds since 1970 nor an ISO 8601 time$",
        map({ published_at = time }).reject)
    end
    for _, time in ipairs { "1704067200000000", "1969-12-31" } do
      assert.matches("^published_at: .+ is not between 1970 and 9999$",
        map({ published_at = time }).reject)
    end
  end)

  it("without a time have that of the Kafka message", function()
    local published = row({ published_at = cjson.null }, { timestamp = 5 }).published_at
    assert.equal(5, published)
    assert.equal("published_at: is missing", map({ published_at = cjson.null }).reject)
  end)

  it("have a score, a label or both", function()
    local function sentiment(changes)
      local stored = row(changes)
      return { stored.sentiment, stored.sentiment_label }
    end
    assert.same({ -1 }, sentiment { sentiment = -1 })
    assert.same({ 0.25 }, sentiment { sentiment = "0.25" })
    assert.same({ nil, "bearish" }, sentiment { sentiment = "Bearish" })
    assert.same({ 1, "positive" }, sentiment { sentiment = 1, sentiment_label = "POSITIVE" })
    assert.same({ 0.5, "mild" }, sentiment { sentiment = { score = 0.5, label = "mild" } })
    assert.same({ 0.5 }, sentiment { sentiment_score = 0.5 })
    assert.same({}, sentiment {})
  end)

  it("are refused with a sentiment that is none", function()
    assert.equal("sentiment: 1.5 is above 1", map({ sentiment = 1.5 }).reject)
    assert.equal("sentiment: -2 is below -1", map({ sentiment = "-2" }).reject)
    assert.equal("sentiment: is neither a score nor a label", map({ sentiment = true }).reject)
    assert.equal("sentiment: is neither a score nor a label", map({ sentiment = {} }).reject)
    assert.equal("confidence: 90 is above 1", map({ confidence = 90 }).reject)
  end)

  it("are about one symbol, the first of several, or about none", function()
    assert.equal("BTCUSDT", row({ symbol = "btcusdt", symbols = { "ETHUSDT" } }).symbol)
    assert.equal("ETHUSDT", row({ symbols = { "ethusdt", "BTCUSDT" } }).symbol)
    assert.is_nil(row({ symbols = {} }).symbol)
    assert.is_nil(row({}).symbol)
  end)

  it("are refused with a symbol that is none", function()
    assert.equal("symbol: is empty", map({ symbol = "" }).reject)
    assert.equal("symbols: is no list", map({ symbols = "BTCUSDT" }).reject)
    assert.equal("symbols: holds what is no text", map({ symbols = { 7 } }).reject)
  end)
end)

describe("GET /api/v1/news", function()
  local kit = rules.open()
  local endpoint = kit:endpoint "endpoints.news"

  local function ask(query, rows)
    return endpoint:call { query = query, results = { rows or {} } }
  end

  local function rows_of(count)
    local rows = {}
    for i = 1, count do
      rows[i] = { url = "u" .. i, time_ms = TIME_MS - i, place = ("%d_%s"):format(i, KEY) }
    end
    return rows
  end

  it("passes its own examples", function()
    assert.is_true(assert(endpoint:run_examples()))
  end)

  it("is there under both paths", function()
    assert.same({ "/api/v1/news", "/v1/news" }, endpoint.def.paths)
  end)

  it("asks for one row more than a page holds, a hundred when nothing else is said", function()
    assert.equal(101, ask({}).asked[1][1])
    assert.equal(8, ask({ limit = "7" }).asked[1][1])
    assert.equal(1001, ask({ limit = "5000" }).asked[1][1])
  end)

  it("looks for what it is asked for", function()
    local null = kit.cs.null
    assert.same({ 101, null, "", null, null }, ask({}).asked[1])
    assert.same({ 101, null, "", "BTCUSDT", "Wire" },
      ask({ symbol = "btcusdt", source = "Wire" }).asked[1])
    assert.same({ 101, null, "", null, null }, ask({ symbol = "", source = "" }).asked[1])
  end)

  it("begins before a time, or behind the last row of a page", function()
    local function before(text)
      local values = ask({ before = text }).asked[1]
      return { values[2], values[3] }
    end
    assert.same({ "1704067200000000", "" }, before "1704067200000")
    assert.same({ "1704067200000123", KEY }, before("1704067200000123_" .. KEY))
    assert.same({ "5665000", "" }, before "05665")
    assert.same({ "0", KEY }, before("000_" .. KEY))
  end)

  it("refuses what is neither", function()
    for _, text in ipairs {
      "x", "-1", "1.5", "1_2", "_" .. KEY, "1_" .. KEY .. "0", "1_" .. KEY:upper() .. "g",
      ("9"):rep(16), ("9"):rep(19) .. "_" .. KEY,
    } do
      local answer = ask { before = text }
      assert.equal(400, answer.status, text)
      assert.same({ error = "before must be a time in milliseconds or the nextBefore of a page" },
        answer.body)
    end
    assert.same({ error = "limit must be a number between 1 and 1000" }, ask({ limit = "0" }).body)
  end)

  it("says where the next page begins", function()
    local body = ask({ limit = "2" }, rows_of(3)).body
    assert.equal(2, body.count)
    assert.equal(2, #body.data)
    assert.is_true(body.hasMore)
    assert.equal("2_" .. KEY, body.nextBefore)
  end)

  it("says that there is no next page", function()
    local answer = ask({ limit = "2" }, rows_of(2))
    assert.is_false(answer.body.hasMore)
    assert.matches('"nextBefore":null', answer.text)
    assert.matches('"data":%[%]', ask({}).text)
  end)

  it("has every field of an article, null where there is nothing", function()
    assert.same({
      url = "u1", title = cjson.null, source = cjson.null, publishedAt = TIME_MS - 1,
      symbol = cjson.null, summary = cjson.null, sentiment = cjson.null,
      sentimentLabel = cjson.null, confidence = cjson.null,
    }, ask({}, rows_of(1)).body.data[1])
  end)
end)
