-- Insights, newest first: all of them, those about one symbol, those of one kind.
local insight = require "lib.insight"
local page = require "lib.page"
local vip = require "lib.vip"

local insights = page.of {
  table = "ai_insights",
  time = "time",
  key = "symbol || ' ' || kind",
  columns = insight.columns,
  filters = { { "symbol", string.upper }, { "kind", string.lower } },
}

return {
  name = "InsightsController",
  summary = "Insights, newest first",
  method = "GET",
  paths = { "/api/v1/insights", "/v1/insights" },
  parameters = insights.parameters,
  responses = {
    [200] = { description = "A page", schema = insights.schema(insight.schema) },
    [403] = vip.response,
  },
  request = function(req)
    local status, refusal = vip.refusal(req)
    if status then return nil, status, refusal end
    return insights.read(req.query)
  end,
  queries = { insights.query },
  reply = function(_, asked, results)
    return 200, insights.body(asked, results[1], insight.of)
  end,

  examples = {
    {
      request = { query = { symbol = "btcusdt" }, claims = { sub = "7", is_vip = true } },
      results = {
        {
          {
            symbol = "BTCUSDT", kind = "trend", summary = "It may rise.", confidence = 0.8,
            details = '{"levels":[1.50],"notes":[]}',
            time_ms = 1704067200000, place = "1704067200000000_" .. ("ab"):rep(32),
          },
        },
      },
      status = 200,
      body = {
        count = 1,
        data = {
          {
            symbol = "BTCUSDT", kind = "trend", time = 1704067200000, summary = "It may rise.",
            confidence = 0.8, details = cs.json.raw '{"levels":[1.50],"notes":[]}',
          },
        },
        hasMore = false, nextBefore = cs.null,
      },
    },
    {
      request = { claims = { sub = "8" } },
      status = 403,
      body = { error = "Insights are for VIP members" },
    },
  },
}
