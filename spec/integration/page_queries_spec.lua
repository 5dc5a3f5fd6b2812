-- The statements of news and insights on a real PostgreSQL with the tables that the migrations
-- make, from the request to the answer, without the service.
local cjson = require "cjson"
local number = require "spec.support.rules.number"
local postgres = require "spec.support.postgres"
local rules = require "spec.support.rules"

-- 270 articles: 60 of one instant, 60 a microsecond apart, 150 in groups of five, one of which
-- lies on an hour; and three that have no time that could be paged by.
local NEWS = [[
  INSERT INTO news_sentiment (url, title, source, symbol, published_at, sentiment)
  SELECT 'https://news.example/same/' || n, 'Same', 'Wire', 'BTCUSDT', '2024-01-03', 0.5
  FROM generate_series(1, 60) n;
  INSERT INTO news_sentiment (url, title, source, symbol, published_at)
  SELECT 'https://news.example/close/' || n, 'Close', 'Herald', 'ETHUSDT',
    '2024-01-02'::timestamptz + n * interval '1 us'
  FROM generate_series(1, 60) n;
  INSERT INTO news_sentiment (url, title, published_at)
  SELECT 'https://news.example/group/' || n, 'Group ' || n,
    '2024-01-01'::timestamptz + n / 5 * interval '1 hour'
  FROM generate_series(5, 154) n;
  INSERT INTO news_sentiment (url, published_at) VALUES
    ('https://news.example/never', NULL),
    ('https://news.example/always', 'infinity'),
    ('https://news.example/before', '-infinity');
]]

local INSIGHTS = [[
  INSERT INTO ai_insights (symbol, kind, time, summary, confidence, details)
  SELECT s, k, '2024-01-01'::timestamptz + n * interval '1 day', s || ' ' || k || ' ' || n, 0.5,
    '{"levels": [1.50, 2], "notes": []}'
  FROM unnest(ARRAY['BTCUSDT', 'ETHUSDT']) s, unnest(ARRAY['risk', 'trend', 'general']) k,
    generate_series(1, 10) n;
  INSERT INTO ai_insights (symbol, kind, time, summary) VALUES
    ('BTCUSDT', 'risk', '2024-02-01', 'the newest'), ('BTCUSDT', 'odd', 'infinity', 'never');
]]

local NUMBERS = { time_ms = true, sentiment = true, confidence = true }

describe("the statements of news and insights", function()
  local kit = rules.open()
  local endpoints = {
    news = kit:endpoint "endpoints.news",
    insights = kit:endpoint "endpoints.insights",
    latest = kit:endpoint "endpoints.insights_latest",
  }
  local db

  lazy_setup(function()
    db = postgres.shared():migrated "pages"
    db:exec(NEWS .. INSIGHTS)
    db:exec "SET plan_cache_mode = force_custom_plan"
    for name, endpoint in pairs(endpoints) do
      db:exec(("PREPARE %s AS %s"):format(name, endpoint.def.queries[1].sql))
    end
  end)

  lazy_teardown(function()
    db:drop()
  end)

  local function literal(value)
    if value == nil or value == kit.cs.null then return "NULL" end
    if type(value) == "number" then value = ("%.0f"):format(value) end
    return "'" .. tostring(value):gsub("'", "''") .. "'"
  end

  local function execute(name, values)
    local literals = {}
    for place in ipairs(endpoints[name].def.queries[1].types) do
      literals[place] = literal(values[place])
    end
    return ("EXECUTE %s(%s)"):format(name, table.concat(literals, ", "))
  end

  -- Texts of the driver as the host hands them to rules.
  local function cells(rows)
    for _, row in ipairs(rows) do
      for column, text in pairs(row) do
        if NUMBERS[column] then row[column] = number.from(text) end
      end
    end
    return rows
  end

  local function ask(name, query, params)
    return endpoints[name]:call {
      query = query, params = params,
      results = function(_, values) return cells(db:rows(execute(name, values))) end,
    }
  end

  -- All rows of all pages from `query` on; a row that comes twice is an error.
  local function pages(name, query, key_of)
    local rows, seen, before = {}, {}, nil
    repeat
      query.before = before or query.before
      local body = ask(name, query).body
      for _, row in ipairs(body.data) do
        local key = key_of(row)
        assert.is_nil(seen[key], key .. " comes twice")
        seen[key] = true
        rows[#rows + 1] = row
      end
      assert.is_true(body.count == #body.data and body.count <= tonumber(query.limit))
      assert.equal(body.hasMore, body.nextBefore ~= cjson.null)
      before = body.nextBefore
    until not body.hasMore
    return rows
  end

  local function url_of(row) return row.url end
  local function key_of(row) return row.symbol .. row.kind .. row.time end

  it("give every article once, newest first, whatever the size of a page", function()
    for _, limit in ipairs { 1, 2, 7, 59, 60, 61, 1000 } do
      local rows = pages("news", { limit = tostring(limit) }, url_of)
      assert.equal(270, #rows, "limit " .. limit)
      for i = 2, #rows do assert.is_true(rows[i].publishedAt <= rows[i - 1].publishedAt) end
    end
  end)

  it("tell articles apart that are a microsecond apart", function()
    local first = ask("news", { symbol = "ethusdt", limit = "59" }).body
    local last = ask("news", { symbol = "ethusdt", before = first.nextBefore }).body
    assert.equal("https://news.example/close/60", first.data[1].url)
    assert.equal("https://news.example/close/1", last.data[1].url)
    assert.equal(1, last.count)
  end)

  it("give no article twice when newer ones come between two pages", function()
    local first = ask("news", { source = "Wire", limit = "30" }).body
    db:exec [[BEGIN; INSERT INTO news_sentiment (url, title, source, published_at)
      SELECT 'https://news.example/new/' || n, 'New', 'Wire', '2024-01-04'
      FROM generate_series(1, 30) n]]
    local rest = ask("news", { source = "Wire", before = first.nextBefore }).body
    db:exec "ROLLBACK"
    assert.equal(30, rest.count)
    for _, row in ipairs(rest.data) do assert.equal("Same", row.title) end
  end)

  it("leave the time out that they come before", function()
    local hour = 1704067200000 + 3600000
    assert.equal(0, ask("news", { before = ("%.0f"):format(hour) }).body.count)
    local body = ask("news", { before = ("%.0f"):format(hour + 1) }).body
    assert.equal(5, body.count)
    assert.equal(hour, body.data[1].publishedAt)
  end)

  it("take any time that may be asked for", function()
    assert.equal(0, ask("news", { before = "0" }).body.count)
    assert.equal(100, ask("news", { before = ("9"):rep(15) }).body.count)
    assert.equal(100, ask("news", { before = ("9"):rep(18) .. "_" .. ("f"):rep(64) }).body.count)
  end)

  it("find articles by symbol and by source", function()
    assert.equal(60, ask("news", { symbol = "btcusdt" }).body.count)
    assert.equal(60, ask("news", { source = "Herald", symbol = "ETHUSDT" }).body.count)
    assert.equal(0, ask("news", { source = "Herald", symbol = "BTCUSDT" }).body.count)
    assert.equal(0, ask("news", { source = "' OR true --" }).body.count)
  end)

  it("give every insight once", function()
    for _, limit in ipairs { 1, 4, 61, 1000 } do
      assert.equal(61, #pages("insights", { limit = tostring(limit) }, key_of))
    end
    local trends = { limit = "3", symbol = "btcusdt", kind = "Trend" }
    assert.equal(10, #pages("insights", trends, key_of))
  end)

  it("give the latest insight of a symbol, or of one kind", function()
    local newest = ask("latest", {}, { symbol = "btcusdt" })
    assert.equal("the newest", newest.body.summary)
    local trend = ask("latest", { kind = "trend" }, { symbol = "BTCUSDT" })
    assert.same({
      symbol = "BTCUSDT", kind = "trend", time = 1704931200000, summary = "BTCUSDT trend 10",
      confidence = 0.5, details = { levels = { 1.5, 2 }, notes = {} },
    }, trend.body)
    assert.matches('"details":{"notes": [], "levels": [1.50, 2]}', trend.text, 1, true)
    assert.equal(404, ask("latest", { kind = "none" }, { symbol = "BTCUSDT" }).status)
  end)

  it("are given a conflict target by the migrations for each key", function()
    for _, module in ipairs { "streams.news", "streams.insights" } do
      for name, def in pairs(kit:stream(module).def.tables) do
        local key = table.concat(def.key, ", ")
        db:exec(("EXPLAIN INSERT INTO %s (%s) SELECT %s FROM %s ON CONFLICT (%s) DO NOTHING")
          :format(name, key, key, name, key))
      end
    end
  end)
end)
