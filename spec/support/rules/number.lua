-- Numbers that a double cannot hold: an object that keeps the decimal text (cs.json.number).
local json = require "spec.support.rules.json"

local MAX_EXACT = 2 ^ 53

local number = {}

-- Sign, power of ten before the first digit, and digits without zeros around them: what decides the
-- order of two decimals.
local function parts(text)
  local sign, whole, fraction, power = text:match("^(%-?)(%d+)%.?(%d*)[eE]?([+-]?%d*)$")
  local digits = (whole .. fraction):gsub("0+$", "")
  local zeros = #digits:match("^0*")
  return digits == "" and 0 or sign == "-" and -1 or 1, #whole - zeros + (tonumber(power) or 0),
    digits:sub(zeros + 1)
end

local function compare(a, b)
  local a_sign, a_power, a_digits = parts(a.text)
  local b_sign, b_power, b_digits = parts(b.text)
  if a_sign ~= b_sign then return a_sign - b_sign end
  if a_sign == 0 then return 0 end
  if a_power ~= b_power then return a_sign * (a_power - b_power) end
  if a_digits == b_digits then return 0 end
  return a_digits < b_digits and -a_sign or a_sign
end

local methods = {
  __tostring = function(object) return object.text end,
  __eq = function(a, b) return compare(a, b) == 0 end,
  __lt = function(a, b) return compare(a, b) < 0 end,
  __le = function(a, b) return compare(a, b) <= 0 end,
  __metatable = false,
}

function number.is_object(value)
  return type(value) == "table" and rawget(value, "kind") == methods
end

function number.object(text)
  return setmetatable({ kind = methods, text = text }, methods)
end

-- The shortest text that reads back as the same double.
function number.shortest(value)
  if value % 1 == 0 and math.abs(value) < 1e15 then return ("%.0f"):format(value) end
  for digits = 1, 17 do
    local text = ("%." .. digits .. "g"):format(value)
    if tonumber(text) == value then return text end
  end
end

-- True for whole numbers up to 2^53. Beyond it 9007199254740993 becomes ...992, so the double
-- alone does not tell.
local function is_exact(text)
  local double = math.abs(tonumber(text))
  return double < MAX_EXACT or double == MAX_EXACT and text:find("992$") ~= nil
end

-- A plain number where that loses nothing, else an object.
function number.from(value)
  if type(value) == "number" or number.is_object(value) then return value end
  if type(value) ~= "string" or not json.is_number(value) then
    error("a decimal number expected", 3)
  end
  local double = tonumber(value)
  local is_whole = not value:find("[.eE]")
  if is_whole and is_exact(value) or number.shortest(double) == value then
    return double
  end
  return number.object(value)
end

-- "-12" within 64 bits.
function number.is_int8(text)
  local sign, digits = text:match("^(%-?)0*(%d+)$")
  if not digits then return false end
  local most = sign == "-" and "9223372036854775808" or "9223372036854775807"
  return #digits < #most or #digits == #most and digits <= most
end

-- Decimal and finite.
function number.is_float8(text)
  return json.is_number(text) and math.abs(tonumber(text)) < math.huge
end

-- A whole number as Lua gets it: a number where that is exact, else its decimal text.
function number.whole(text)
  return is_exact(text) and tonumber(text) or text
end

return number
