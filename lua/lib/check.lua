-- Checks of a record as a table of sentences:
--
--   local trouble = check.compile {
--     { "volume", "at least", 0 },        -- a field and a bound
--     { "high", "at least", "low" },      -- or two fields
--   }
--   trouble(record) -> nil when all hold, else "volume: -1 is below 0"
--
-- A field that is nil fails no check: whether it must be there is said where fields are declared.
local check = {}

local HOLDS = {
  ["at least"] = function(value, bound) return value >= bound end,
  ["at most"] = function(value, bound) return value <= bound end,
}
local BROKEN = {
  ["at least"] = "below",
  ["at most"] = "above",
}

local function number_text(number)
  if type(number) == "string" then return number end
  return (number % 1 == 0 and "%.0f" or "%.15g"):format(number)
end

local function describe(field, relation, bound, record)
  local text = ("%s: %s is %s "):format(field, number_text(record[field]), BROKEN[relation])
  if type(bound) == "number" then return text .. number_text(bound) end
  return text .. bound .. ", " .. number_text(record[bound])
end

-- Whole numbers beyond 2^53 come as decimal text; for a comparison the nearest double will do.
local function comparable(value)
  if type(value) == "string" then return tonumber(value) end
  return value
end

function check.compile(sentences)
  for i, sentence in ipairs(sentences) do
    if not HOLDS[sentence[2]] then
      error(("check %d: %q is neither 'at least' nor 'at most'"):format(i, tostring(sentence[2])))
    end
  end
  return function(record)
    for i = 1, #sentences do
      local sentence = sentences[i]
      local field, relation, bound = sentence[1], sentence[2], sentence[3]
      local value = comparable(record[field])
      local limit = bound
      if type(bound) == "string" then limit = comparable(record[bound]) end
      if value and limit and not HOLDS[relation](value, limit) then
        return describe(field, relation, bound, record)
      end
    end
  end
end

return check
