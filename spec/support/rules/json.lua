-- A strict JSON reader that keeps what the host keeps: where each value stands and the text of
-- each number. lua-cjson alone forgets both. Nodes are
--   { kind = "object", members = {...} } | { kind = "array", items = {...} }
--   | { kind = "string", value = ... } | { kind = "number" } | { kind = "true" | "false" | "null" }
-- each with `at` (bytes before it) and `raw` (its text).
local cjson = require "cjson"

local WORDS = { t = "true", f = "false", n = "null" }
local MAX_DEPTH = 64 -- arrays and objects inside each other

local json = {}

local read_value

local function fail(at, what) error({ at = at - 1, what = what }, 0) end

local function skip_space(text, at) return text:find("[^ \t\r\n]", at) or #text + 1 end

-- JSON's grammar, nothing more: no leading zero, no plus, digits on both sides of the point.
function json.is_number(text)
  local digits, rest = text:match("^%-?(%d+)(.*)$")
  if not digits or digits:find("^0%d") then return false end
  rest = rest:gsub("^%.%d+", "", 1):gsub("^[eE][+-]?%d+$", "", 1)
  return rest == ""
end

-- Well-formed UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
function json.is_utf8(text)
  local at = 1
  while at <= #text do
    local a, b = text:byte(at, at + 1)
    local size = a < 0x80 and 1 or a < 0xc2 and 0 or a < 0xe0 and 2 or a < 0xf0 and 3
      or a < 0xf5 and 4 or 0
    if size == 0 or not text:find("^" .. ("[\128-\191]"):rep(size - 1), at + 1) then
      return false
    end
    if a == 0xe0 and b < 0xa0 or a == 0xed and b > 0x9f or a == 0xf0 and b < 0x90
      or a == 0xf4 and b > 0x8f then
      return false
    end
    at = at + size
  end
  return true
end

local function read_string(text, at)
  local stop = at + 1
  while true do
    stop = text:find('["\\%c]', stop) or fail(#text + 1, "a string does not end")
    local c = text:sub(stop, stop)
    if c == '"' then break end
    if c ~= "\\" and c ~= "\127" then fail(stop, "a control character in a string") end
    stop = stop + (c == "\\" and 2 or 1)
  end
  local raw = text:sub(at, stop)
  local fine, decoded = pcall(cjson.decode, "[" .. raw .. "]")
  if not fine then fail(at, "a string with a wrong escape") end
  return { kind = "string", at = at - 1, raw = raw, value = decoded[1] }, stop + 1
end

local function read_object(text, at, depth)
  local start, members = at, {}
  at = skip_space(text, at + 1)
  if text:sub(at, at) ~= "}" then
    while true do
      if text:sub(at, at) ~= '"' then fail(at, "a key was expected") end
      local key, value
      key, at = read_string(text, at)
      at = skip_space(text, at)
      if text:sub(at, at) ~= ":" then fail(at, "a colon was expected") end
      value, at = read_value(text, at + 1, depth)
      members[key.value] = value -- of equal keys the last counts
      if text:sub(at, at) == "}" then break end
      if text:sub(at, at) ~= "," then fail(at, "a comma or } was expected") end
      at = skip_space(text, at + 1)
    end
  end
  return { kind = "object", at = start - 1, raw = text:sub(start, at), members = members }, at + 1
end

local function read_array(text, at, depth)
  local start, items = at, {}
  at = skip_space(text, at + 1)
  if text:sub(at, at) ~= "]" then
    while true do
      items[#items + 1], at = read_value(text, at, depth)
      if text:sub(at, at) == "]" then break end
      if text:sub(at, at) ~= "," then fail(at, "a comma or ] was expected") end
      at = at + 1
    end
  end
  return { kind = "array", at = start - 1, raw = text:sub(start, at), items = items }, at + 1
end

local function read_scalar(text, at)
  local c = text:sub(at, at)
  if WORDS[c] and text:sub(at, at + #WORDS[c] - 1) == WORDS[c] then
    return { kind = WORDS[c], at = at - 1, raw = WORDS[c] }, at + #WORDS[c]
  end
  local raw = text:match("^[-+%w.]+", at)
  if not raw or not json.is_number(raw) then fail(at, "a value was expected") end
  return { kind = "number", at = at - 1, raw = raw }, at + #raw
end

-- The value at `at` and where what follows it begins, white space skipped.
function read_value(text, at, depth)
  if depth >= MAX_DEPTH and text:find("^[%[{]", at) then fail(at, "nested too deep") end
  at = skip_space(text, at)
  local c = text:sub(at, at)
  local read = c == "{" and read_object or c == "[" and read_array or c == '"' and read_string
    or read_scalar
  local node, after = read(text, at, depth + 1)
  return node, skip_space(text, after)
end

-- The node of the whole text; nil and what is wrong.
function json.read(text)
  if not json.is_utf8(text) then return nil, "not UTF-8" end
  local fine, node, after = pcall(read_value, text, 1, 0)
  if not fine then
    if type(node) ~= "table" then error(node, 0) end
    return nil, ("%s (byte %d)"):format(node.what, node.at)
  end
  if after <= #text then return nil, ("something follows the value (byte %d)"):format(after - 1) end
  return node
end

return json
