-- The newest insight about a symbol, of any kind or of the one that is asked for.
local insight = require "lib.insight"
local param = require "lib.param"
local schema = require "lib.schema"
local vip = require "lib.vip"

local kind = {
  parameters = {
    kind = { description = "Only those of this kind", schema = schema.text },
  },
  read = function(query, asked)
    asked.kind = param.is_missing(query.kind) and cs.null or query.kind:lower()
  end,
}

local asks = param.steps { param.symbol, kind }

return {
  name = "InsightsController",
  summary = "The newest insight about a symbol",
  method = "GET",
  paths = { "/api/v1/insights/latest/:symbol", "/v1/insights/latest/:symbol" },
  parameters = asks.parameters,
  responses = {
    [200] = { description = "The insight", schema = insight.schema },
    [403] = vip.response,
    [404] = { description = "There is none" },
  },
  request = function(req)
    local status, refusal = vip.refusal(req)
    if status then return nil, status, refusal end
    return asks.read { symbol = req.params.symbol, kind = req.query.kind }
  end,
  queries = {
    {
      sql = [[
        select ]] .. insight.columns .. [[,
          (extract(epoch from time) * 1000)::bigint as time_ms
        from ai_insights
        where symbol = $1 and time < 'infinity' and ($2::text is null or kind = $2)
        order by time desc, kind
        limit 1]],
      types = { "text", "text" },
      params = function(_, asked) return { asked.symbol, asked.kind } end,
    },
  },
  reply = function(_, asked, results)
    local newest = results[1][1]
    if not newest then return nil, 404, "There is no insight about " .. asked.symbol end
    return 200, insight.of(newest)
  end,

  examples = {
    {
      request = { params = { symbol = "btcusdt" } },
      results = {
        {
          {
            symbol = "BTCUSDT", kind = "trend", summary = "It may rise.",
            time_ms = 1704067200000,
          },
        },
      },
      status = 200,
      body = {
        symbol = "BTCUSDT", kind = "trend", time = 1704067200000, summary = "It may rise.",
        confidence = cs.null, details = cs.null,
      },
    },
    {
      request = { params = { symbol = "NOSUCH" } },
      results = { {} },
      status = 404,
      body = { error = "There is no insight about NOSUCH" },
    },
    {
      request = { params = { symbol = "BTCUSDT" }, claims = { is_vip = false } },
      status = 403,
      body = { error = "Insights are for VIP members" },
    },
  },
}
