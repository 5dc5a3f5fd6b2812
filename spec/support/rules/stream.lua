-- A stream file under test: its definition checked, messages mapped as the host maps them.
local cjson = require "cjson"
local convert = require "spec.support.rules.convert"
local encode = require "spec.support.rules.encode"
local json = require "spec.support.rules.json"

local KNOWN = {
  name = 1, topic = 1, fields = 1, shapes = 1, tables = 1, map = 1, numbering = 1, identify = 1,
  saved = 1, sequence_from = 1, optional = 1, examples = 1, series = 1, track_key = 1,
}

local Stream = {}
Stream.__index = Stream

-- ---- the definition ----

local function split(declared) return (declared:gsub("%?$", "")), declared:sub(-1) == "?" end

local function check(condition, text, ...)
  if not condition then error(text:format(...), 0) end
end

local function check_shapes(def)
  check(type(def.shapes) == "table" and def.shapes[1], "shapes: at least one was expected")
  for i, shape in ipairs(def.shapes) do
    for name in pairs(shape) do
      check(def.fields[name], "shapes[%d].%s: there is no such field", i, name)
    end
    for name, declared in pairs(def.fields) do
      local _, is_optional = split(declared)
      check(is_optional or shape[name], "shapes[%d]: lacks %s, which is required", i, name)
    end
  end
end

local function check_columns(table_name, columns, names, where)
  check(type(names) == "table" and names[1], "tables.%s.%s: names of columns were expected",
    table_name, where)
  for _, name in ipairs(names) do
    check(columns[name], "tables.%s.%s: there is no column %s", table_name, where, tostring(name))
  end
end

local function check_table(name, def)
  check(type(def.columns) == "table", "tables.%s.columns: a table was expected", name)
  for column, declared in pairs(def.columns) do
    check(convert.is_column_kind((split(declared))), "tables.%s.columns.%s: %s is no type", name,
      column, declared)
  end
  check_columns(name, def.columns, def.key, "key")
  if def.newer then check_columns(name, def.columns, { def.newer }, "newer") end
  if def.track then
    check_columns(name, def.columns, def.track.by, "track.by")
    check_columns(name, def.columns, { def.track.sequence }, "track.sequence")
    check_columns(name, def.columns, { def.track.time }, "track.time")
  end
end

local function check_numbering(def)
  local numbering = def.numbering or "global"
  if numbering == "global" then return end
  check(type(numbering) == "table" and type(numbering.dense) == "table" and numbering.dense[1],
    'numbering: "global" or { dense = { fields } } was expected')
  for _, field in ipairs(numbering.dense) do
    check(def.fields and def.fields[field], "numbering.dense: there is no field %s", field)
  end
end

local function check_definition(def)
  for key in pairs(def) do check(KNOWN[key], "%s: unknown", tostring(key)) end
  check(type(def.name) == "string", "name: a string was expected")
  check(type(def.topic) == "string", "topic: a string was expected")
  check(type(def.map) == "function", "map: a function was expected")
  check(type(def.tables) == "table" and next(def.tables), "tables: at least one was expected")
  if def.saved then
    check(select(2, def.saved:gsub("%%d", "")) == 1, "saved: %%d was expected once")
  end
  for _, name in ipairs { "series", "track_key" } do
    check(def[name] == nil or type(def[name]) == "function", "%s: a function was expected", name)
  end
  check(def.optional == nil or type(def.optional) == "boolean",
    "optional: true or false was expected")
  for field, declared in pairs(def.fields or {}) do
    check(convert.is_field_kind((split(declared))), "fields.%s: %s is no type", field, declared)
  end
  if def.fields then check_shapes(def) end
  for name, table_def in pairs(def.tables) do check_table(name, table_def) end
  check_numbering(def)
  for what, field in pairs(def.identify or {}) do
    check(def.fields and def.fields[field], "identify.%s: there is no field %s", what, field)
  end
end

-- `def` is a copy of what the file returned; `enter` runs a function as this stream.
function Stream.new(def, enter)
  check_definition(def)
  return setmetatable({ def = def, name = def.name, topic = def.topic, enter = enter }, Stream)
end

-- ---- rows ----

local function take_row(name, def, given)
  for column in pairs(given) do
    check(def.columns[column], "%s.%s: there is no such column", name, tostring(column))
  end
  local row = {}
  for column, declared in pairs(def.columns) do
    local kind, is_optional = split(declared)
    local value = given[column]
    check(value ~= nil or is_optional, "%s.%s: missing (cs.null stores NULL; declare it with ? to "
      .. "leave it out)", name, column)
    if value ~= nil and value ~= cjson.null then
      local trouble = convert.column_trouble(kind, value)
      check(not trouble, "%s.%s: %s", name, column, trouble)
      row[column] = value
    end
  end
  return row
end

-- No keys but 1 to its length.
local function check_list(name, list)
  local n_keys = 0
  for _ in pairs(list) do n_keys = n_keys + 1 end
  check(n_keys == #list, "%s: a list of rows has holes or other keys", name)
end

local function take_table(name, def, given)
  check(type(given) == "table", "%s: expected a row or an array of rows, got a %s", name,
    type(given))
  if next(given) == nil then return {} end
  if given[1] then check_list(name, given) else given = { given } end
  local rows = {}
  for i, row in ipairs(given) do
    check(type(row) == "table", "%s: row %d is a %s", name, i, type(row))
    rows[i] = take_row(name, def, row)
  end
  return rows
end

-- Lists of rows by table.
local function take_rows(tables, given)
  for name in pairs(given) do
    check(tables[name], "%s: the stream has no such table", tostring(name))
  end
  local rows = {}
  for name, def in pairs(tables) do
    local taken = given[name] and take_table(name, def, given[name]) or {}
    if taken[1] then rows[name] = taken end
  end
  check(next(rows), 'map returned no rows (return nil, "skip", reason to store none)')
  return rows
end

-- ---- series ----

-- What `series` or `track_key` returned, as the ledger names it: { table, "BTCUSDT/5m" }.
local function series_name(tables, name, values)
  if name == nil then return nil end
  local def = type(name) == "string" and tables[name]
  check(def and def.track, '"%s" is no tracked table of the stream', tostring(name))
  check(type(values) == "table" and #values <= #def.track.by,
    "%s is tracked by %d columns", name, #def.track.by)
  local texts = {}
  for i in ipairs(def.track.by) do
    if values[i] == nil or values[i] == cjson.null then return nil end
    texts[i] = tostring(values[i]):gsub("/", "//")
  end
  return { table = name, series = table.concat(texts, "/") }
end

-- A function that breaks names no series.
function Stream:call_series(hook, argument, unread)
  local run = self.def[hook]
  if not run or argument == nil then return nil end
  local fine, name, values = self.enter(function() return pcall(run, argument, unread) end)
  if not fine then return nil end
  local taken, series = pcall(series_name, self.def.tables, name, values)
  return taken and series or nil
end

-- Of a message that was refused, or skipped where each series has its own numbers.
function Stream:find_series(result, record, key, unread)
  local is_dense = type(self.def.numbering) == "table"
  if not result.reject and not (result.skip and is_dense) then return nil end
  return self:call_series("series", record, unread or {})
    or (result.reject and self:call_series("track_key", key) or nil)
end

-- ---- one message ----

function Stream:read(text)
  local root, trouble = json.read(text)
  if not root then
    return nil, { reject = self.def.fields and "not JSON: " .. trouble or "not JSON",
      stage = "decode" }
  end
  if not self.def.fields then return cjson.decode(text), {} end
  local record, reason, readable, unread = convert.fields(root, self.def.fields,
    self.def.shapes)
  local identify = self.def.identify or {}
  local named = {
    symbol = identify.symbol and (record or readable)[identify.symbol],
    sequence = identify.sequence and (record or readable)[identify.sequence],
  }
  if record then
    named.shape = reason
    return record, named
  end
  named.reject, named.stage = reason, "decode"
  return nil, named, readable, unread
end

local function verdict(self, fine, rows, what, reason)
  if not fine then return { reject = tostring(rows), stage = "map" } end
  if type(rows) == "table" then
    local taken, trouble = pcall(take_rows, self.def.tables, rows)
    if not taken then return { reject = trouble, stage = "row" } end
    return { rows = trouble }
  end
  if reason == "" then reason = nil end
  if what == "skip" then return { skip = reason or "no reason given" } end
  if what == "reject" then
    return { reject = reason or "rejected without a reason", stage = "map" }
  end
  return {
    reject = 'map returned neither rows nor nil, "skip" or "reject", reason',
    stage = "map",
  }
end

-- What becomes of one message: { rows = { TABLE = { row, ... } } }, { skip = reason } or
-- { reject = reason, stage = ... }, with `symbol` and `sequence` where they could be read.
-- A message that was not stored has `series`, { table, series }, where the stream could say it.
-- `text` nil is a tombstone.
function Stream:map(text, meta)
  if text == nil then return { skip = "tombstone" } end
  local message_key = meta and meta.key
  local record, named, readable, unread = self:read(text)
  if record == nil then
    named.series = self:find_series(named, unread and readable, message_key, unread)
    return named
  end
  local full_meta = { topic = self.topic, partition = 0, offset = 0, shape = named.shape }
  for key, value in pairs(meta or {}) do full_meta[key] = value end
  local result = verdict(self, self.enter(function()
    return pcall(self.def.map, record, full_meta)
  end))
  result.symbol, result.sequence = named.symbol, named.sequence
  result.series = self:find_series(result, record, message_key)
  return result
end

-- ---- examples ----

local function same_row(def, a, b)
  for column, declared in pairs(def.columns) do
    local x, y = a[column], b[column]
    if (x == nil) ~= (y == nil) then return false end
    if x ~= nil and not convert.equal_values((split(declared)), x, y) then return false end
  end
  return true
end

local function same_rows(tables, a, b)
  for name, def in pairs(tables) do
    local left, right = a[name] or {}, b[name] or {}
    if #left ~= #right then return false end
    for i in ipairs(left) do
      if not same_row(def, left[i], right[i]) then return false end
    end
  end
  return true
end

local function describe(result)
  if result.rows then return "rows " .. encode(result.rows) end
  if result.skip then return "skip " .. result.skip end
  return "reject " .. result.reject
end

-- Rows as an example or a spec writes them (one row or a list) against those of a result.
function Stream:has_rows(result, expected)
  return result.rows ~= nil
    and same_rows(self.def.tables, result.rows, take_rows(self.def.tables, expected))
end

-- Of a reason an example may give a part.
local function has_part(reason, part)
  return reason ~= nil and reason:find(part, 1, true) ~= nil
end

function Stream:check_example(example)
  local given = (example.rows and 1 or 0) + (example.skip and 1 or 0) + (example.reject and 1 or 0)
  if given ~= 1 then return "expected one of rows, skip and reject" end
  local result = self:map(example.message, { key = example.key, timestamp = example.timestamp })
  local fits
  if example.rows then
    fits = self:has_rows(result, example.rows)
  elseif example.skip then
    fits = has_part(result.skip, example.skip)
  else
    fits = has_part(result.reject, example.reject)
  end
  if not fits then return ("expected %s, got %s"):format(describe(example), describe(result)) end
end

-- True when every example comes out as it says; nil and the first that does not.
function Stream:run_examples()
  for i, example in ipairs(self.def.examples or {}) do
    local trouble = self:check_example(example)
    if trouble then return nil, ("example %d: %s"):format(i, trouble) end
  end
  return true
end

return Stream
