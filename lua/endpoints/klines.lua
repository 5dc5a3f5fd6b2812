-- The newest candles of one series before `end` (or at all), oldest first: what a chart shows.
local interval = require "lib.interval"
local kline = require "lib.kline"
local param = require "lib.param"
local schema = require "lib.schema"
local series = require "lib.series"

local MAX_TIME_MS = 253402300799999 -- the end of year 9999

local upper_end = {
  parameters = {
    ["end"] = {
      description = "Only candles that opened before this, in milliseconds since 1970",
      schema = { type = "integer", minimum = 0, maximum = MAX_TIME_MS },
    },
  },
  read = function(query, asked)
    if not query["end"] then return end
    asked.end_ms = param.whole_number(query["end"])
    if not asked.end_ms or asked.end_ms > MAX_TIME_MS then
      return "end must be a time in milliseconds"
    end
  end,
}

local asks = param.steps { param.symbol, param.interval, param.limit, upper_end }

local function request(req)
  return asks.read(req.query)
end

-- One row more than a page holds tells whether there are older ones.
local SQL = [[
  select * from (
    select ]] .. kline.columns .. [[
    from {table}
    where {series}
      and time >= coalesce($3::timestamptz, '-infinity')
      and time < coalesce($4::timestamptz, 'infinity')
    order by time desc
    limit $5
  ) page
  order by open_ms]]
local TYPES = { "timestamptz", "timestamptz", "int8" }

local function values(asked, from_ms)
  return { from_ms, asked.end_ms or cs.null, asked.limit + 1 }
end

-- Where a series without holes has a page and a bit. A search from there touches the newest chunks
-- of a large table only; one without a lower bound would open all of them.
local function likely_start_ms(asked)
  local before_ms = asked.end_ms or cs.time.now_ms()
  return math.max(0, before_ms - (asked.limit + 2) * interval.longest_ms(asked.interval))
end

local LIKELY, ALL = 1, 2

local queries = series.queries {
  [LIKELY] = {
    sql = SQL,
    types = TYPES,
    values = function(asked) return values(asked, likely_start_ms(asked)) end,
  },
  [ALL] = {
    sql = SQL,
    types = TYPES,
    values = function(asked, likely_rows)
      return #likely_rows <= asked.limit and values(asked, cs.null)
    end,
  },
}

local function reply(_, asked, results)
  local rows = series.rows(results, ALL) or series.rows(results, LIKELY)
  local has_more = #rows > asked.limit

  local data = {}
  for i = has_more and 2 or 1, #rows do
    data[#data + 1] = kline.of(rows[i], asked.interval)
  end

  return 200, {
    symbol = asked.symbol,
    interval = asked.interval,
    count = #data,
    data = cs.json.array(data),
    hasMore = has_more,
    nextEnd = has_more and data[1].t or cs.null,
  }
end

local page_schema = schema.page(kline.schema, {
  symbol = schema.text,
  interval = interval.schema,
  nextEnd = schema.nullable(schema.time),
})

local function candle_row(open_ms)
  return {
    symbol = "BTCUSDT", open_ms = open_ms,
    open = 50000, high = 50100, low = 49900, close = 50050, volume = 10.5,
  }
end

return {
  name = "MarketController",
  summary = "The newest candles of a symbol, oldest first",
  method = "GET",
  paths = { "/api/v1/klines", "/v1/klines" },
  parameters = asks.parameters,
  responses = { [200] = { description = "A page", schema = page_schema } },
  request = request,
  queries = queries,
  reply = reply,

  examples = {
    {
      request = { query = { symbol = "btcusdt", limit = "1", ["end"] = "1704067320000" } },
      results = { { candle_row(1704067200000), candle_row(1704067260000) } },
      status = 200,
      body = {
        symbol = "BTCUSDT", interval = "1m", count = 1,
        data = {
          {
            t = 1704067260000, T = 1704067320000, s = "BTCUSDT",
            o = 50000, h = 50100, l = 49900, c = 50050, v = 10.5,
          },
        },
        hasMore = true, nextEnd = 1704067260000,
      },
    },
    {
      request = { query = { symbol = "BTCUSDT", interval = "5m" } },
      results = { nil, {}, nil, {} },
      status = 200,
      body = {
        symbol = "BTCUSDT", interval = "5m", count = 0, data = cs.json.array {},
        hasMore = false, nextEnd = cs.null,
      },
    },
    {
      request = { query = { symbol = "BTCUSDT", interval = "3m" } },
      status = 400,
      body = { error = "interval must be one of 1m, 5m, 1h, 1d, 1w, 1M" },
    },
  },
}
