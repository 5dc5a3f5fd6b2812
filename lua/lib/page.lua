-- A table in pages, newest first:
--
--   local news = page.of {
--     table = "news_sentiment",
--     time = "published_at",            -- orders the rows
--     key = "url",                      -- an expression that tells rows of the same time apart
--     columns = "url, title",
--     filters = {                       -- columns that a parameter of the same name may fix,
--       { "symbol", string.upper },     -- and how its text is brought to what is stored
--       { "source" },
--     },
--   }
--   news.read(req.query)                -> what was asked; or: nil, 400, what is wrong
--   news.parameters                     what it reads
--   news.schema(items)                  of a page of such items
--   news.query                          for `queries`
--   news.body(asked, rows, item)        the answer; item(row) makes an entry of a row
--
-- A page ends with `nextBefore`, which names its last row by time and key: the next page begins
-- right behind it, however many rows have the same time, and whatever was stored meanwhile.
-- Rows without a time are not shown.
local param = require "lib.param"
local schema = require "lib.schema"

local MAX_TIME_DIGITS = 15  -- milliseconds, a long way beyond the year 9999
local KEY_DIGITS = 64

-- $1 how many rows, $2 and $3 the time in microseconds and the key that they come before.
local SQL = [[
  select {columns},
    (extract(epoch from {time}) * 1000)::bigint as time_ms,
    (extract(epoch from {time}) * 1000000)::bigint || '_' || {key} as place
  from {table}
  where {time} >= 'epoch' and {time} <= {before} and ({time} < {before} or {key} < $3)
    {filters}
  order by {time} desc, {key} desc
  limit $1]]

local BEFORE = [[coalesce(timestamptz 'epoch' + $2::bigint * interval '1 us', 'infinity')]]
local KEY = [[encode(sha256(convert_to(%s, 'UTF8')), 'hex')]]
local FILTER = [[and ($%d::text is null or %s = $%d)]]
local FIRST_FILTER = 4

local page = {}

-- Decimal digits without zeros in front: what a column of numbers takes.
local function canonical(digits)
  return digits:match("^0*(%d+)$")
end

-- `before` is a nextBefore, or a time in milliseconds.
local function read_before(query, asked)
  asked.before_us, asked.before_key = cs.null, ""
  local text = query.before
  if param.is_missing(text) then return end

  local us, key = text:match("^(%d+)_(%x+)$")
  if us and #us <= MAX_TIME_DIGITS + 3 and #key == KEY_DIGITS then
    asked.before_us, asked.before_key = canonical(us), key
  elseif text:find("^%d+$") and #text <= MAX_TIME_DIGITS then
    asked.before_us = canonical(text .. "000")
  else
    return "before must be a time in milliseconds or the nextBefore of a page"
  end
end

local before_step = {
  parameters = {
    before = {
      description = "Only what comes behind this: the nextBefore of a page, or milliseconds",
      schema = {
        type = "string",
        pattern = ("^([0-9]{1,%d}|[0-9]{1,%d}_[0-9A-Fa-f]{%d})?$")
          :format(MAX_TIME_DIGITS, MAX_TIME_DIGITS + 3, KEY_DIGITS),
      },
    },
  },
  read = read_before,
}

local function filter_step(filter)
  local name, clean = unpack(filter)
  return {
    parameters = {
      [name] = { description = "Only those with this " .. name, schema = schema.text },
    },
    read = function(query, asked)
      local text = query[name]
      if param.is_missing(text) then
        asked[name] = cs.null
      else
        asked[name] = clean and clean(text) or text
      end
    end,
  }
end

local function sql_of(def)
  local filters = {}
  for i, filter in ipairs(def.filters) do
    local place = FIRST_FILTER + i - 1
    filters[i] = FILTER:format(place, filter[1], place)
  end
  local parts = {
    columns = def.columns,
    table = def.table,
    time = def.time,
    key = KEY:format(def.key),
    before = BEFORE,
    filters = table.concat(filters, " "),
  }
  return (SQL:gsub("{(%l+)}", parts))
end

function page.of(def)
  local steps = { param.limit, before_step }
  local types = { "int8", "int8", "text" }
  for _, filter in ipairs(def.filters) do
    steps[#steps + 1] = filter_step(filter)
    types[#types + 1] = "text"
  end

  local asks = param.steps(steps)
  return {
    read = asks.read,
    parameters = asks.parameters,
    schema = function(items)
      return schema.page(items, { nextBefore = schema.nullable(schema.text) })
    end,
    query = {
      sql = sql_of(def),
      types = types,
      params = function(_, asked)
        -- One row more than a page holds tells whether there is another page.
        local values = { asked.limit + 1, asked.before_us, asked.before_key }
        for _, filter in ipairs(def.filters) do values[#values + 1] = asked[filter[1]] end
        return values
      end,
    },
    body = function(asked, rows, item)
      local has_more = #rows > asked.limit
      local data = {}
      for i = 1, has_more and asked.limit or #rows do data[i] = item(rows[i]) end
      return {
        count = #data,
        data = cs.json.array(data),
        hasMore = has_more,
        nextBefore = has_more and rows[asked.limit].place or cs.null,
      }
    end,
  }
end

return page
