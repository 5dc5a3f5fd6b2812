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

-- Whole numbers beyond 2^53 come as decimal text; + 0 makes the nearest double of it.
local function holds(rule, record)
  local value, bound = record[rule.field], rule.bound or record[rule.other]
  if not value or not bound then return true end
  if rule.is_least then return value + 0 >= bound + 0 end
  return value + 0 <= bound + 0
end

local function first_trouble(rules, record)
  for _, rule in ipairs(rules) do
    if not holds(rule, record) then return describe(rule, record) end
  end
end

-- One range for each field that has a bound, whatever the number of its sentences.
local function list_ranges(rules)
  local fields, lows, highs, place = {}, {}, {}, {}
  for _, rule in ipairs(rules) do
    if rule.bound then
      local i = place[rule.field] or #fields + 1
      place[rule.field], fields[i] = i, rule.field
      lows[i], highs[i] = lows[i] or -math.huge, highs[i] or math.huge
      if rule.is_least then
        lows[i] = math.max(lows[i], rule.bound)
      else
        highs[i] = math.min(highs[i], rule.bound)
      end
    end
  end
  return fields, lows, highs
end

-- Which of two fields has to be the greater.
local function list_pairs(rules)
  local greater, lesser = {}, {}
  for _, rule in ipairs(rules) do
    if rule.other then
      greater[#greater + 1] = rule.is_least and rule.field or rule.other
      lesser[#lesser + 1] = rule.is_least and rule.other or rule.field
    end
  end
  return greater, lesser
end

-- What runs for every record only asks whether all is well; the words are found when it is not.
function check.compile(sentences)
  local rules = {}
  for i, sentence in ipairs(sentences) do rules[i] = read_sentence(i, sentence) end
  local fields, lows, highs = list_ranges(rules)
  local greater, lesser = list_pairs(rules)
  local n_fields, n_pairs = #fields, #greater

  return function(record)
    for i = 1, n_fields do
      local value = record[fields[i]]
      if value then
        value = value + 0
        if not (value >= lows[i] and value <= highs[i]) then return first_trouble(rules, record) end
      end
    end
    for i = 1, n_pairs do
      local more, less = record[greater[i]], record[lesser[i]]
      if more and less and more + 0 < less + 0 then return first_trouble(rules, record) end
    end
  end
end

return check
