-- Sequence numbers: whole, 0 to 2^63-1. Beyond 2^53 a Lua number cannot hold them, so they are
-- decimal text wherever they are compared.
local MAX = "9223372036854775807"

local sequence = {}

-- True when `a` is below `b`; both canonical, as sequence.parse gives them.
function sequence.is_below(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- A sequence as it came from a query (a number, or a number object beyond 2^53) as decimal text.
function sequence.text(value)
  if type(value) == "number" then return ("%.0f"):format(value) end
  return tostring(value)
end

-- "0042" -> "42"; nil for what is no sequence number.
function sequence.parse(text)
  if not text:find("^%d+$") then return nil end
  local canonical = text:match("^0*(%d+)$")
  if sequence.is_below(MAX, canonical) then return nil end
  return canonical
end

return sequence
