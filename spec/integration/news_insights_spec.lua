-- News and insights from Kafka into PostgreSQL and out over HTTP, with everything real.
local cjson = require "cjson"
local kafka = require "spec.support.kafka"
local mime = require "mime"
local postgres = require "spec.support.postgres"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local SECRET = "a secret of more than thirty-two bytes"
local TIME_MS = 1704067200000

local function base64url(text)
  return (mime.b64(text):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" }))
end

-- A JSON Web Token, signed by openssl (HS256).
local function token(claims)
  claims.exp = os.time() + 600
  local text = base64url '{"alg":"HS256","typ":"JWT"}' .. "." .. base64url(cjson.encode(claims))
  local signer = io.popen(("printf %%s '%s' | openssl dgst -sha256 -hmac '%s' -binary | base64")
    :format(text, SECRET))
  local signature = signer:read("*a"):gsub("%s", "")
  signer:close()
  assert(#signature == 44, "openssl signs nothing")
  return text .. "." .. signature:gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" })
end

describe("news and insights", function()
  local broker, database, topics, running

  local function start(env)
    if running then running:stop() end
    env = env or {}
    env.NEWS_TOPIC, env.INSIGHTS_TOPIC = topics.news, topics.insights
    running = service.start {
      database = database, broker = broker, topic = topics.candles, group = "news", env = env,
    }
    return running
  end

  lazy_setup(function()
    broker = kafka.shared()
    database = postgres.shared():migrated "news"
    topics = {}
    for _, name in ipairs { "candles", "news", "insights" } do topics[name] = broker:topic(name) end
    start()
  end)

  lazy_teardown(function()
    if running then running:kill() end
    if database then database:drop() end
  end)

  -- Sends and waits until the database is past all of it.
  local function send(topic, messages)
    broker:send_all(topic, messages)
    local _, last = broker:watermarks(topic, 0)
    wait.till("the messages are ingested", 30, function()
      return database:number(("SELECT next_offset FROM ingest_offsets WHERE topic = '%s'")
        :format(topic)) == last
    end)
  end

  local function get(path, claims)
    local headers = claims and { Authorization = "Bearer " .. token(claims) }
    local answer = running:get(path, headers)
    return answer.status, answer.json
  end

  it("stores an article once, as it was analyzed last", function()
    local article = '{"url":"https://news.example/a","title":"%s","published_at":%d,' ..
      '"symbols":["btcusdt"],"sentiment":{"score":%s,"label":"Positive"}}'
    send(topics.news, {
      article:format("First", TIME_MS, "0.1"),
      '{"url":"https://news.example/b","title":"Other","published_at":"2024-01-02T00:00:00Z"}',
      article:format("Second", TIME_MS, "0.25"),
      '{"url":"https://news.example/c"}',
    })
    local status, body = get "/api/v1/news?symbol=btcusdt"
    assert.equal(200, status)
    assert.same({
      {
        url = "https://news.example/a", title = "Second", publishedAt = TIME_MS,
        symbol = "BTCUSDT", sentiment = 0.25, sentimentLabel = "positive",
        source = cjson.null, summary = cjson.null, confidence = cjson.null,
      },
    }, body.data)
    assert.same({ { reason = "no shape fits: 1 lacks title" } },
      database:rows "SELECT reason FROM rejected_messages WHERE stream = 'NewsConsumer'")
  end)

  it("pages through articles of one instant", function()
    local messages = {}
    for i = 1, 25 do
      messages[i] = ('{"url":"https://news.example/p/%d","title":"P","source":"Pages",' ..
        '"published_at":%d}'):format(i, TIME_MS)
    end
    send(topics.news, messages)
    local urls, count, before = {}, 0, ""
    repeat
      local _, body = get("/v1/news?source=Pages&limit=10&before=" .. before)
      for _, row in ipairs(body.data) do
        assert.is_nil(urls[row.url])
        urls[row.url], count = true, count + 1
      end
      before = body.nextBefore
    until not body.hasMore
    assert.equal(25, count)
  end)

  it("stores an insight once, however often it comes", function()
    local insight = '{"symbol":"BTCUSDT","kind":"%s","time":%d,"summary":"It may rise.",' ..
      '"confidence":0.8,"details":{"levels":[12345678901234567890,2],"notes":[]}}'
    send(topics.insights, {
      insight:format("trend", TIME_MS), insight:format("trend", TIME_MS),
      insight:format("risk", TIME_MS + 1), insight:format("trend", TIME_MS),
    })
    local status, body = get "/api/v1/insights?symbol=BTCUSDT"
    assert.equal(200, status)
    assert.equal(2, body.count)
    local latest = running:get "/v1/insights/latest/btcusdt?kind=trend"
    assert.equal(200, latest.status)
    assert.equal('{"confidence":0.8,' ..
      '"details":{"notes": [], "levels": [12345678901234567890, 2]},"kind":"trend",' ..
      '"summary":"It may rise.","symbol":"BTCUSDT","time":1704067200000}', latest.body)
    assert.equal(404, (get "/api/v1/insights/latest/NOSUCH"))
  end)

  it("shows insights to VIP members only, once tokens are asked for", function()
    start { JWT_SECRET = SECRET }
    for _, path in ipairs { "/api/v1/insights", "/v1/insights/latest/BTCUSDT" } do
      assert.equal(401, (get(path)))
      local status, body = get(path, { sub = "7" })
      assert.equal(403, status)
      assert.same({ error = "Insights are for VIP members" }, body)
      assert.equal(403, (get(path, { is_vip = "true" })))
      assert.equal(200, (get(path, { is_vip = true })))
    end
    assert.equal(200, (get("/api/v1/news", { sub = "7" })))
  end)
end)
