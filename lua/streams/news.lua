-- News with what an analysis made of them: one row for each url. An article that is analyzed again
-- replaces what was stored of it.
local check = require "lib.check"
local moment = require "lib.moment"
local symbol = require "lib.symbol"

local MAX_URL_BYTES = 2000 -- the unique index takes not much more

local impossible = check.compile {
  { "sentiment", "at least", -1 },
  { "sentiment", "at most", 1 },
  { "confidence", "at least", 0 },
  { "confidence", "at most", 1 },
}

local function check_url(url)
  if not url:find("^https?://.") then return "url: begins with neither http:// nor https://" end
  if #url > MAX_URL_BYTES then return ("url: is longer than %d bytes"):format(MAX_URL_BYTES) end
end

-- When the producer does not say it: when the message was written to Kafka.
local function published(article, meta)
  if article.published_at then return moment.parse(article.published_at) end
  return meta.timestamp, "is missing"
end

-- A score and a label: a bare sentiment is one of them, {"score": ..., "label": ...} both.
local function sentiment(article)
  if not article.sentiment then return nil, article.label end
  local value = cs.json.decode(article.sentiment)
  local score = type(value) == "string" and cs.json.decode(value) or value
  if type(score) == "number" then return score, article.label end
  return nil, article.label or value
end

-- The symbol that the article is about, the first of several; nil when it is about none.
local function subject(article)
  local name = article.symbol
  if not name and article.symbols then
    local names = cs.json.decode(article.symbols)
    if type(names) ~= "table" then return nil, "symbols: is no list" end
    name = names[1]
  end
  if name == nil then return nil end
  if type(name) ~= "string" then return nil, "symbols: holds what is no text" end
  return symbol.parse(name)
end

return {
  name = "NewsConsumer",
  topic = cs.env("NEWS_TOPIC", "news_analyzed"),
  saved = "Saved %d news",
  optional = true,

  fields = {
    url = "text",
    title = "text",
    source = "text?",
    published_at = "json?",
    symbol = "text?",
    symbols = "json?",
    sentiment = "json?",
    label = "text?",
    confidence = "float8?",
    summary = "text?",
    content = "text?",
  },
  shapes = {
    {
      url = { "url", "link" },
      title = { "title", "headline" },
      source = { "source.name", "source" },
      published_at = { "published_at", "publishedAt" },
      symbol = "symbol",
      symbols = "symbols",
      sentiment = { "sentiment.score", "sentiment_score", "sentiment" },
      label = { "sentiment.label", "sentiment_label" },
      confidence = { "confidence", "sentiment.confidence" },
      summary = { "summary", "description" },
      content = "content",
    },
  },
  identify = { symbol = "symbol" },

  tables = {
    news_sentiment = {
      columns = {
        url = "text",
        title = "text",
        source = "text?",
        published_at = "timestamptz",
        symbol = "text?",
        sentiment = "float8?",
        sentiment_label = "text?",
        confidence = "float8?",
        summary = "text?",
        content = "text?",
      },
      key = { "url" },
    },
  },

  map = function(article, meta)
    local trouble = check_url(article.url)
    if trouble then return nil, "reject", trouble end

    local published_ms, no_time = published(article, meta)
    if not published_ms then return nil, "reject", "published_at: " .. no_time end

    local name, no_symbol = subject(article)
    if no_symbol then return nil, "reject", no_symbol end

    local score, label = sentiment(article)
    if label and type(label) ~= "string" then
      return nil, "reject", "sentiment: is neither a score nor a label"
    end
    trouble = impossible { sentiment = score, confidence = article.confidence }
    if trouble then return nil, "reject", trouble end

    return {
      news_sentiment = {
        url = article.url,
        title = article.title,
        source = article.source,
        published_at = published_ms,
        symbol = name,
        sentiment = score,
        sentiment_label = label and label:lower(),
        confidence = article.confidence,
        summary = article.summary,
        content = article.content,
      },
    }
  end,

  examples = {
    {
      message = [[
        {"url":"https://news.example/a","title":"Bitcoin climbs","source":"Example Wire",
          "published_at":1704067200000,"symbols":["btcusdt","ETHUSDT"],
          "sentiment":0.75,"sentiment_label":"POSITIVE","confidence":0.9,
          "summary":"It went up."}]],
      rows = {
        news_sentiment = {
          url = "https://news.example/a", title = "Bitcoin climbs", source = "Example Wire",
          published_at = 1704067200000, symbol = "BTCUSDT",
          sentiment = 0.75, sentiment_label = "positive", confidence = 0.9,
          summary = "It went up.",
        },
      },
    },
    {
      message = [[
        {"url":"https://news.example/b","title":"Bitcoin falls","source":{"name":"Example Wire"},
          "publishedAt":"2024-01-01T02:00:00+02:00","symbol":"BTCUSDT",
          "sentiment":{"score":"-0.5","label":"negative","confidence":1}}]],
      rows = {
        news_sentiment = {
          url = "https://news.example/b", title = "Bitcoin falls", source = "Example Wire",
          published_at = 1704067200000, symbol = "BTCUSDT",
          sentiment = -0.5, sentiment_label = "negative", confidence = 1,
        },
      },
    },
    {
      message = [[{"url":"https://news.example/c","title":"A quiet day","sentiment":"neutral"}]],
      timestamp = 1704067200000,
      rows = {
        news_sentiment = {
          url = "https://news.example/c", title = "A quiet day",
          published_at = 1704067200000, sentiment_label = "neutral",
        },
      },
    },
    {
      message = [[{"url":"https://news.example/d","title":"When?","published_at":1704067200}]],
      reject = "published_at: 1704067200 is neither milliseconds since 1970 nor an ISO 8601 time",
    },
    {
      message = [[
        {"url":"https://news.example/e","title":"Loud","published_at":1704067200000,
          "sentiment":7}]],
      reject = "sentiment: 7 is above 1",
    },
    {
      message = [[{"url":"mailto:a@news.example","title":"A letter"}]],
      reject = "url: begins with neither http:// nor https://",
    },
  },
}
