-- "What did I miss?": the candles of one symbol whose sequence lies in a range, oldest first, and
-- which numbers of the range are missing, and why.
local kline = require "lib.kline"
local ledger = require "lib.ledger"
local param = require "lib.param"
local schema = require "lib.schema"
local sequence = require "lib.sequence"
local series = require "lib.series"

local function read_range(query, asked)
  if param.is_missing(query.fromSeq) or param.is_missing(query.toSeq) then
    return "fromSeq and toSeq are required"
  end
  asked.from = sequence.parse(query.fromSeq)
  asked.to = sequence.parse(query.toSeq)
  if not asked.from or not asked.to then return "fromSeq and toSeq must be valid numbers" end
  if not sequence.is_below(asked.from, asked.to) then return "fromSeq must be less than toSeq" end
end

local range = {
  parameters = {
    fromSeq = {
      required = true,
      description = "The last sequence that the client has; the answer begins behind it",
      schema = schema.sequence,
    },
    toSeq = {
      required = true,
      description = "The last sequence that is asked for, above fromSeq",
      schema = schema.sequence,
    },
  },
  read = read_range,
}

local asks = param.steps { param.symbol, range, param.limit, param.interval, param.wait }

local function request(req)
  local asked, status, trouble = asks.read(req.query)
  if not asked then return nil, status, trouble end

  cs.log.limited("fetching", 1000, "info", ("Fetching missed klines: %s fromSeq:%s toSeq:%s")
    :format(asked.symbol, asked.from, asked.to))
  return asked
end

local LEDGER, PAGE = 1, 2

local queries = series.queries {
  [LEDGER] = ledger.question,
  [PAGE] = {
    -- One row more than a page holds tells whether there is another page; ties, because a page
    -- must not end inside a group of equal sequences.
    sql = [[
      select * from (
        select * from (
          ]] .. ledger.in_windows([[
          select sequence, ]] .. kline.columns .. [[
          from {table}
          where {series} and sequence > $3 and sequence <= $4 and sequence is not null
            and {window}
          order by sequence
          fetch first $5 rows with ties]], 5) .. [[
        ) windows
        order by sequence
        fetch first $5 rows with ties
      ) page
      order by sequence, open_ms]],
    types = ledger.with_window_types { "int8", "int8", "int8" },
    values = function(asked, known, req)
      if ledger.pause_ms(known, asked.wait_ms, req) then return nil end
      return ledger.with_windows(known, { asked.from, known[1].page_to, asked.limit + 1 })
    end,
  },
}

-- How many of the rows are this page, and the number up to which they leave nothing out.
local function cut(rows, limit, page_to)
  if #rows <= limit then return #rows, page_to end

  local beyond = rows[limit + 1].sequence
  local last = limit
  while last > 0 and rows[last].sequence == beyond do last = last - 1 end
  if last > 0 then return last, rows[last].sequence end

  -- One group of equal sequences is more than a page: it is given whole, and nothing was read
  -- beyond it. The next page may turn out empty.
  return #rows, beyond
end

local function reply(req, asked, results)
  local known = series.rows(results, LEDGER)
  local pause_ms = ledger.pause_ms(known, asked.wait_ms, req)
  if pause_ms then return nil, "again", pause_ms end

  local rows = series.rows(results, PAGE)
  local count, reached = cut(rows, asked.limit, known[1].page_to)
  local has_more = sequence.is_below(sequence.text(reached), asked.to)
  local missing = ledger.missing(known)

  local data = {}
  for i = 1, count do
    local row = rows[i]
    data[i] = {
      seq = row.sequence,
      symbol = row.symbol,
      timestamp = row.open_ms,
      kline = kline.of(row, asked.interval),
    }
  end

  return 200, {
    symbol = asked.symbol,
    fromSeq = cs.json.number(asked.from),
    toSeq = cs.json.number(asked.to),
    count = count,
    data = cs.json.array(data),
    hasMore = has_more,
    nextFromSeq = has_more and reached or cs.null,
    missing = cs.json.array(missing),
    complete = #missing == 0,
  }, { -- not for the ETag: these change while the answer stays the same
    oldestSeq = known[1].oldest or cs.null,
    newestSeq = known[1].newest or cs.null,
  }
end

local page_schema = schema.page(
  schema.object {
    seq = schema.sequence, symbol = schema.text, timestamp = schema.time, kline = kline.schema,
  },
  {
    symbol = schema.text,
    fromSeq = schema.sequence,
    toSeq = schema.sequence,
    nextFromSeq = schema.nullable(schema.sequence),
    missing = schema.list(schema.object {
      fromSeq = schema.sequence, toSeq = schema.sequence, reason = ledger.reason_schema,
    }),
    complete = schema.boolean,
    oldestSeq = schema.nullable(schema.sequence),
    newestSeq = schema.nullable(schema.sequence),
  })

local function candle_row(seq, open_ms)
  return {
    sequence = seq, symbol = "BTCUSDT", open_ms = open_ms,
    open = 50000, high = 50100, low = 49900, close = 50050, volume = 10.5,
  }
end

-- What the ledger knows of a plain table in which all to `page_to` is there.
local function known(page_to, more)
  local row = { page_to = page_to, from_1 = 0, to_1 = 9000000000000000 }
  for name, value in pairs(more) do row[name] = value end
  return row
end

return {
  name = "MarketController",
  summary = "The candles whose sequence lies in a range, and what is missing of it",
  method = "GET",
  paths = { "/api/v1/klines/missed", "/v1/klines/missed" },
  parameters = asks.parameters,
  responses = { [200] = { description = "A page", schema = page_schema } },
  request = request,
  queries = queries,
  reply = reply,

  examples = {
    {
      request = { query = { symbol = "btcusdt", fromSeq = "100", toSeq = "150" } },
      results = {
        { known(150, { oldest = 7, newest = 101 }) },
        nil,
        { candle_row(101, 1704067200000) },
      },
      status = 200,
      body = {
        symbol = "BTCUSDT", fromSeq = 100, toSeq = 150, count = 1,
        data = {
          {
            seq = 101, symbol = "BTCUSDT", timestamp = 1704067200000,
            kline = {
              t = 1704067200000, T = 1704067260000, s = "BTCUSDT",
              o = 50000, h = 50100, l = 49900, c = 50050, v = 10.5,
            },
          },
        },
        hasMore = false, nextFromSeq = cs.null, missing = cs.json.array {}, complete = true,
      },
      volatile = { oldestSeq = 7, newestSeq = 101 },
    },
    {
      request = {
        query = { symbol = "BTCUSDT", interval = "1M", fromSeq = "0", toSeq = "9", limit = "1" },
      },
      results = {
        nil,
        {
          known(9, { oldest = 3, newest = 5, from_seq = 4, to_seq = 6, reason = "rejected" }),
          known(9, { oldest = 3, newest = 5, from_seq = 8, to_seq = 9, reason = "not_ingested" }),
        },
        nil,
        { candle_row(3, 1704067200000), candle_row(5, 1706745600000) },
      },
      status = 200,
      body = {
        symbol = "BTCUSDT", fromSeq = 0, toSeq = 9, count = 1,
        data = {
          {
            seq = 3, symbol = "BTCUSDT", timestamp = 1704067200000,
            kline = {
              t = 1704067200000, T = 1706745600000, s = "BTCUSDT",
              o = 50000, h = 50100, l = 49900, c = 50050, v = 10.5,
            },
          },
        },
        hasMore = true, nextFromSeq = 3,
        missing = {
          { fromSeq = 4, toSeq = 6, reason = "rejected" },
          { fromSeq = 8, toSeq = 9, reason = "not_ingested" },
        },
        complete = false,
      },
      volatile = { oldestSeq = 3, newestSeq = 5 },
    },
    {
      request = { query = { fromSeq = "100", toSeq = "150" } },
      status = 400,
      body = { error = "Symbol is required" },
    },
    {
      request = { query = { symbol = "BTCUSDT", fromSeq = "150", toSeq = "100" } },
      status = 400,
      body = { error = "fromSeq must be less than toSeq" },
    },
  },
}
