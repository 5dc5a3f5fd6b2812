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

local BROKEN = {
  ["at least"] = "below",
  ["at most"] = "above",
}

local function number_text(number)
  if type(number) == "string" then return number end
  return (number % 1 == 0 and "%.0f" or "%.15g"):format(number)
end

local function describe(rule, record)
  local text = ("%s: %s is %s "):format(rule.field, number_text(record[rule.field]), rule.broken)
  if rule.other then return text .. rule.other .. ", " .. number_text(record[rule.other]) end
  return text .. number_text(rule.bound)
end

local function read_sentence(i, sentence)
  local field, relation, bound = unpack(sentence)
  if not BROKEN[relation] then
    error(("check %d: %q is neither 'at least' nor 'at most'"):format(i, tostring(relation)), 3)
  end
  return {
    field = field,
    is_least = relation == "at least",
    broken = BROKEN[relation],
    bound = type(bound) == "number" and bound or nil,
    other = type(bound) == "string" and bound or nil,
  }
end

function check.compile(sentences)
  local rules = {}
  for i, sentence in ipairs(sentences) do rules[i] = read_sentence(i, sentence) end

  return function(record)
    for i = 1, #rules do
      local rule = rules[i]
      local value, bound = record[rule.field], rule.bound or record[rule.other]
      if value and bound then
        -- Whole numbers beyond 2^53 come as decimal text; + 0 makes the nearest double of it.
        value, bound = value + 0, bound + 0
        local holds = value >= bound
        if not rule.is_least then holds = value <= bound end
        if not holds then return describe(rule, record) end
      end
    end
  end
end

return check
