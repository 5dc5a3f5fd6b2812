-- JSON text of a Lua value as the host writes it: keys in the order of their bytes, so that equal
-- tables make equal texts; number objects as their text.
local cjson = require "cjson"
local number = require "spec.support.rules.number"

local ARRAY = { __metatable = false } -- of tables that are arrays even when empty
local RAW = { __metatable = false } -- of JSON text that is encoded as it is
local MAX_DEPTH = 100

local encode_value

local function encode_list(list, depth)
  local parts = {}
  for i = 1, #list do parts[i] = encode_value(list[i], depth) end
  return "[" .. table.concat(parts, ",") .. "]"
end

-- The keys in order, and whether they are 1..n.
local function sorted_keys(object)
  local keys, numbers = {}, 0
  for key in pairs(object) do
    if type(key) == "number" then numbers = numbers + 1
    elseif type(key) ~= "string" then error("json: a key is a " .. type(key), 0) end
    keys[#keys + 1] = key
  end
  local is_list = #keys > 0 and numbers == #keys and #object == #keys
  if numbers > 0 and not is_list then
    error("json: a table has numbers as keys, but not 1 to n", 0)
  end
  table.sort(keys)
  return keys, is_list
end

local function encode_table(value, depth)
  if depth > MAX_DEPTH then error(("json: nested deeper than %d"):format(MAX_DEPTH), 0) end
  if debug.getmetatable(value) == ARRAY then return encode_list(value, depth) end
  local keys, is_list = sorted_keys(value)
  if is_list then return encode_list(value, depth) end
  local parts = {}
  for i, key in ipairs(keys) do
    parts[i] = cjson.encode(key) .. ":" .. encode_value(value[key], depth)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode_value(value, depth)
  if value == nil or value == cjson.null then return "null" end
  if number.is_object(value) then return tostring(value) end
  if debug.getmetatable(value) == RAW then return value.text end
  if type(value) == "table" then return encode_table(value, depth + 1) end
  if type(value) == "string" then return (cjson.encode(value):gsub("\\/", "/")) end
  if type(value) == "boolean" then return tostring(value) end
  if type(value) ~= "number" then error(("json: a %s has no JSON"):format(type(value)), 0) end
  if value ~= value or math.abs(value) == math.huge then return "null" end
  return number.shortest(value)
end

local encode = { ARRAY = ARRAY, RAW = RAW }

return setmetatable(encode, { __call = function(_, value) return encode_value(value, 0) end })
