-- News, newest first: all of them, those about one symbol, those of one source.
local page = require "lib.page"
local schema = require "lib.schema"

local news = page.of {
  table = "news_sentiment",
  time = "published_at",
  key = "url",
  columns = "url, title, source, symbol, summary, sentiment, sentiment_label, confidence",
  filters = { { "symbol", string.upper }, { "source" } },
}

local function item(row)
  return {
    url = row.url,
    title = row.title or cs.null,
    source = row.source or cs.null,
    publishedAt = row.time_ms,
    symbol = row.symbol or cs.null,
    summary = row.summary or cs.null,
    sentiment = row.sentiment or cs.null,
    sentimentLabel = row.sentiment_label or cs.null,
    confidence = row.confidence or cs.null,
  }
end

local item_schema = schema.object {
  url = schema.text,
  title = schema.nullable(schema.text),
  source = schema.nullable(schema.text),
  publishedAt = schema.time,
  symbol = schema.nullable(schema.text),
  summary = schema.nullable(schema.text),
  sentiment = schema.number,
  sentimentLabel = schema.nullable(schema.text),
  confidence = schema.number,
}

local function article_row(name, time_ms)
  return {
    url = "https://news.example/" .. name, title = "Bitcoin climbs", source = "Example Wire",
    symbol = "BTCUSDT", sentiment = 0.75, sentiment_label = "positive",
    time_ms = time_ms, place = ("%.0f000_%s"):format(time_ms, ("ab"):rep(32)),
  }
end

return {
  name = "NewsController",
  summary = "News, newest first",
  method = "GET",
  paths = { "/api/v1/news", "/v1/news" },
  parameters = news.parameters,
  responses = { [200] = { description = "A page", schema = news.schema(item_schema) } },
  request = function(req) return news.read(req.query) end,
  queries = { news.query },
  reply = function(_, asked, results) return 200, news.body(asked, results[1], item) end,

  examples = {
    {
      request = { query = { symbol = "btcusdt", limit = "1" } },
      results = { { article_row("b", 1704067260000), article_row("a", 1704067200000) } },
      status = 200,
      body = {
        count = 1,
        data = {
          {
            url = "https://news.example/b", title = "Bitcoin climbs", source = "Example Wire",
            publishedAt = 1704067260000, symbol = "BTCUSDT", summary = cs.null,
            sentiment = 0.75, sentimentLabel = "positive", confidence = cs.null,
          },
        },
        hasMore = true, nextBefore = "1704067260000000_" .. ("ab"):rep(32),
      },
    },
    {
      request = { query = { before = "1704067200000", source = "Example Wire" } },
      results = { {} },
      status = 200,
      body = { count = 0, data = cs.json.array {}, hasMore = false, nextBefore = cs.null },
    },
    {
      request = { query = { before = "yesterday" } },
      status = 400,
      body = { error = "before must be a time in milliseconds or the nextBefore of a page" },
    },
  },
}
