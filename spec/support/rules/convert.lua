-- The two conversions of a stream: from a message's JSON to fields, from a row to columns.
local cjson = require "cjson"
local encode = require "spec.support.rules.encode"
local json = require "spec.support.rules.json"
local number = require "spec.support.rules.number"

local convert = {}

-- ---- fields ----

local function number_text(node)
  local text = node.kind == "string" and node.value or node.raw
  if (node.kind == "number" or node.kind == "string") and json.is_number(text) then return text end
end

local function whole_field(node)
  local text = number_text(node)
  if text and number.is_int8(text) then return number.whole(text) end
end

local FIELDS = {
  text = function(node)
    if node.kind == "string" and not node.value:find("%z") then return node.value end
  end,
  int8 = whole_field,
  ms = whole_field,
  float8 = function(node)
    local text = number_text(node)
    if text and number.is_float8(text) then return tonumber(text) end
  end,
  numeric = number_text,
  bool = function(node)
    if node.kind == "true" or node.kind == "false" then return node.kind == "true" end
  end,
  json = function(node) return node.raw end,
}

local SHOWN_BYTES = 40

local function describe(node, kind)
  if kind == "text" and node.kind == "string" then
    return ("a string with \\u0000 (byte %d)"):format(node.at)
  end
  if node.kind == "object" or node.kind == "array" then
    return ("an %s (byte %d)"):format(node.kind, node.at)
  end
  local shown = #node.raw > SHOWN_BYTES and node.raw:sub(1, SHOWN_BYTES) .. "..." or node.raw
  return ("%s (byte %d)"):format(shown, node.at)
end

local function at_path(node, path)
  for key in path:gmatch("[^.]+") do
    node = node.kind == "object" and node.members[key]
    if not node then return nil end
  end
  return node.kind ~= "null" and node or nil
end

local function first_there(root, paths)
  if type(paths) == "string" then paths = { paths } end
  for _, path in ipairs(paths or {}) do
    local node = at_path(root, path)
    if node then return node, path end
  end
end

local function sorted_names(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function missing_path(root, fields, names, shape)
  for _, name in ipairs(names) do
    local is_optional = fields[name]:sub(-1) == "?"
    if not is_optional and not first_there(root, shape[name]) then
      return type(shape[name]) == "table" and shape[name][1] or shape[name]
    end
  end
end

local function choose_shape(root, fields, names, shapes)
  local lacks = {}
  for i, shape in ipairs(shapes) do
    local path = missing_path(root, fields, names, shape)
    if not path then return i end
    lacks[i] = ("%d lacks %s"):format(i, path)
  end
  return nil, "no shape fits: " .. table.concat(lacks, ", ")
end

-- The typed fields of a message and the number of the shape that fitted; nil and the reason, the
-- fields that could be read all the same, and where a shape fits those that could not (name: true).
function convert.fields(root, fields, shapes)
  local names = sorted_names(fields)
  local shape, trouble = choose_shape(root, fields, names, shapes)
  if not shape then return nil, trouble, {} end
  local record, unread = {}, {}
  for _, name in ipairs(names) do
    local kind = fields[name]:gsub("%?$", "")
    local node, path = first_there(root, shapes[shape][name])
    if node then
      record[name] = FIELDS[kind](node)
      if record[name] == nil then
        unread[name] = true
        trouble = trouble
          or ("%s: expected %s, found %s"):format(path, kind, describe(node, kind))
      end
    end
  end
  if trouble then return nil, trouble, record, unread end
  return record, shape
end

function convert.is_field_kind(kind) return FIELDS[kind] ~= nil end

-- ---- columns ----

local function text_of(value)
  if type(value) == "string" then return value end
  if number.is_object(value) then return tostring(value) end
end

local function is_whole(value)
  if type(value) == "number" then return value % 1 == 0 and math.abs(value) <= 2 ^ 53 end
  local text = text_of(value)
  return text ~= nil and number.is_int8(text)
end

local function is_finite(value)
  if type(value) == "number" then return value == value and math.abs(value) < math.huge end
  local text = text_of(value)
  return text ~= nil and number.is_float8(text)
end

local function is_decimal(value)
  local text = text_of(value)
  if text then return json.is_number(text) end
  return type(value) == "number" and is_finite(value)
end

-- From the year 1 to the last that a timestamptz has.
local MIN_MS, MAX_MS = -62135596800000, 9224317929600000

local COLUMNS = {
  text = { "a string", function(value)
    return type(value) == "string" and json.is_utf8(value) and not value:find("%z")
  end },
  int8 = { "a whole number", is_whole },
  timestamptz = { "whole milliseconds since 1970", function(value)
    local ms = is_whole(value) and tonumber(text_of(value) or value)
    return ms and ms >= MIN_MS and ms <= MAX_MS
  end },
  float8 = { "a finite number", is_finite },
  numeric = { "a decimal number", is_decimal },
  bool = { "true or false", function(value) return type(value) == "boolean" end },
  json = { "JSON", function(value)
    if type(value) == "string" then return json.read(value) ~= nil end
    return type(value) == "table" or type(value) == "number" or type(value) == "boolean"
  end },
}
COLUMNS.jsonb = COLUMNS.json

function convert.is_column_kind(kind) return COLUMNS[kind] ~= nil end

local function describe_value(value)
  if type(value) == "string" then return ('"%s"'):format(value:sub(1, 60)) end
  if type(value) == "number" then return ("%.17g"):format(value) end
  if type(value) == "boolean" or number.is_object(value) then return tostring(value) end
  return "a " .. type(value)
end

-- Nil when `value` can go into a column of this kind, else what is wrong with it.
function convert.column_trouble(kind, value)
  local expected, fits = unpack(COLUMNS[kind])
  if fits(value) then return nil end
  return ("expected %s, got %s"):format(expected, describe_value(value))
end

-- ---- results ----

local CELLS = {
  int8 = number.from,
  float8 = function(text) return number.is_float8(text) and tonumber(text) or cjson.null end,
  numeric = function(text) return json.is_number(text) and number.object(text) or cjson.null end,
  bool = function(text) return text == "t" end,
  json = cjson.decode,
}
CELLS.int4, CELLS.jsonb = CELLS.int8, CELLS.json

-- PostgreSQL's text of a value of this kind (nil: NULL) as rules get it.
function convert.cell(kind, text)
  local convert_text = text ~= nil and CELLS[kind]
  if convert_text then return convert_text(text) end
  return text
end

local function canonical(kind, value)
  if kind == "json" or kind == "jsonb" then
    return encode(type(value) == "string" and cjson.decode(value) or value)
  end
  if kind == "text" or kind == "bool" then return value end
  if kind == "float8" then return tonumber(text_of(value) or value) end
  return text_of(value) or number.shortest(value)
end

-- Equal once stored: 101 and "101" are the same int8.
function convert.equal_values(kind, a, b)
  return canonical(kind, a) == canonical(kind, b)
end

return convert
