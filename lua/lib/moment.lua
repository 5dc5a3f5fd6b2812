-- Times as producers write them: milliseconds since 1970, as a number or as text, or ISO 8601. A
-- field that may be any of them is declared "json"; it comes as JSON text.
local MAX_MS = 253402300799999 -- the end of year 9999

-- Before March 1973 in milliseconds, until the year 5138 in seconds.
local LOOKS_LIKE_SECONDS = 100000000000

local moment = {}

local function milliseconds(value)
  if type(value) == "string" then
    if not value:find("^%d+$") then return cs.time.parse(value) end
    value = tonumber(value)
  end
  local is_number = type(value) == "number" and value % 1 == 0
  return is_number and value >= LOOKS_LIKE_SECONDS and value or nil
end

-- '"2024-01-01T00:00:00Z"' -> 1704067200000; nil and the reason for what is no time.
function moment.parse(json)
  local ms = milliseconds(cs.json.decode(json))
  if not ms then
    return nil, ("%s is neither milliseconds since 1970 nor an ISO 8601 time"):format(json)
  end
  if ms < 0 or ms > MAX_MS then return nil, json .. " is not between 1970 and 9999" end
  return ms
end

return moment
