-- What models say about a symbol. Of one kind there is one insight about a symbol at a time, so a
-- message that comes twice is one row, and a corrected one replaces the first.
local check = require "lib.check"
local moment = require "lib.moment"
local symbol = require "lib.symbol"

local MAX_KIND_BYTES = 100

local impossible = check.compile {
  { "confidence", "at least", 0 },
  { "confidence", "at most", 1 },
}

return {
  name = "InsightsConsumer",
  topic = cs.env("INSIGHTS_TOPIC", "ai_insights"),
  saved = "Saved %d insights",
  optional = true,

  fields = {
    symbol = "text",
    kind = "text?",
    time = "json",
    summary = "text",
    confidence = "float8?",
    details = "json?",
  },
  shapes = {
    {
      symbol = "symbol",
      kind = { "kind", "type" },
      time = { "time", "created_at", "createdAt", "timestamp" },
      summary = { "summary", "content", "text" },
      confidence = "confidence",
      details = { "details", "metadata" },
    },
  },
  identify = { symbol = "symbol" },

  tables = {
    ai_insights = {
      columns = {
        symbol = "text",
        kind = "text",
        time = "timestamptz",
        summary = "text",
        confidence = "float8?",
        details = "json?",
      },
      key = { "symbol", "kind", "time" },
    },
  },

  map = function(insight)
    local name, trouble = symbol.parse(insight.symbol)
    if not name then return nil, "reject", trouble end

    local kind = (insight.kind or "general"):lower()
    if #kind > MAX_KIND_BYTES then
      return nil, "reject", ("kind: is longer than %d bytes"):format(MAX_KIND_BYTES)
    end

    local time_ms, no_time = moment.parse(insight.time)
    if not time_ms then return nil, "reject", "time: " .. no_time end

    trouble = impossible(insight)
    if trouble then return nil, "reject", trouble end

    return {
      ai_insights = {
        symbol = name,
        kind = kind,
        time = time_ms,
        summary = insight.summary,
        confidence = insight.confidence,
        details = insight.details,
      },
    }
  end,

  examples = {
    {
      message = [[
        {"symbol":"btcusdt","kind":"trend","time":1704067200000,"summary":"It may rise.",
          "confidence":0.8,"details":{"horizon":"1d","levels":[50000,51000.50]}}]],
      rows = {
        ai_insights = {
          symbol = "BTCUSDT", kind = "trend", time = 1704067200000, summary = "It may rise.",
          confidence = 0.8, details = '{"horizon":"1d","levels":[50000,51000.50]}',
        },
      },
    },
    {
      message = [[
        {"symbol":"ETHUSDT","type":"Risk","created_at":"2024-01-01T00:00:00.000Z",
          "content":"It may fall."}]],
      rows = {
        ai_insights = {
          symbol = "ETHUSDT", kind = "risk", time = 1704067200000, summary = "It may fall.",
        },
      },
    },
    {
      message = [[{"symbol":"ETHUSDT","time":1704067200000,"text":"It may stay."}]],
      rows = {
        ai_insights = {
          symbol = "ETHUSDT", kind = "general", time = 1704067200000, summary = "It may stay.",
        },
      },
    },
    {
      message = [[{"symbol":"ETHUSDT","time":1704067200000,"text":"Sure.","confidence":80}]],
      reject = "confidence: 80 is above 1",
    },
    {
      message = [[{"symbol":"ETHUSDT","time":"soon","text":"It may move."}]],
      reject = 'time: "soon" is neither milliseconds since 1970 nor an ISO 8601 time',
    },
    {
      message = [[{"symbol":"ETHUSDT","text":"It may move."}]],
      reject = "no shape fits: 1 lacks time",
    },
  },
}
