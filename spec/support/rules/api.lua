-- What rules find under `cs`, as the host offers it. Lines that rules log are kept in a list,
-- counters in a table, and the clock may be held.
local cjson = require "cjson"
local encode = require "spec.support.rules.encode"
local json = require "spec.support.rules.json"
local number = require "spec.support.rules.number"

local DAY_MS = 24 * 60 * 60 * 1000
local BUILT_IN_ENV = {
  MARKET_DATA_TOPIC = 1, MARKET_DATA_NUMBERING = 1, NEWS_TOPIC = 1, INSIGHTS_TOPIC = 1,
  MARKET_CONSUMER_GROUP_ID = 1, KAFKA_GROUP_ID = 1, LOG_LEVEL = 1,
}

-- ---- dates of the Gregorian calendar in UTC ----

local function days_of(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local era_day = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
  return 365 * year + era_day + math.floor((153 * (month - 3) + 2) / 5) + day - 719469
end

local function date_of(days)
  local year = math.floor(days / 365.2425) + 1970
  while days_of(year, 1, 1) > days do year = year - 1 end
  while days_of(year + 1, 1, 1) <= days do year = year + 1 end
  local month = 12
  while days_of(year, month, 1) > days do month = month - 1 end
  return year, month, days - days_of(year, month, 1) + 1
end

local function last_day(year, month)
  local next_year, next_month = year, month + 1
  if month == 12 then next_year, next_month = year + 1, 1 end
  return days_of(next_year, next_month, 1) - days_of(year, month, 1)
end

local function add_months(ms, months)
  local days = math.floor(ms / DAY_MS)
  local year, month, day = date_of(days)
  month = month - 1 + months
  year, month = year + math.floor(month / 12), month % 12 + 1
  return days_of(year, month, math.min(day, last_day(year, month))) * DAY_MS + ms % DAY_MS
end

local function iso(ms)
  local year, month, day = date_of(math.floor(ms / DAY_MS))
  local rest = ms % DAY_MS
  return ("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ"):format(year, month, day,
    math.floor(rest / 3600000), math.floor(rest / 60000) % 60, math.floor(rest / 1000) % 60,
    rest % 1000)
end

local function zone_ms(zone)
  if zone == "" or zone == "Z" then return 0 end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):?(%d?%d?)$")
  if not sign or #minutes == 1 then return nil end
  hours, minutes = tonumber(hours), tonumber(minutes) or 0
  if hours > 23 or minutes > 59 then return nil end
  return (sign == "-" and -1 or 1) * (hours * 3600000 + minutes * 60000)
end

local function parse(text)
  local year, month, day, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)(.*)$")
  if not year then return nil end
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  if month < 1 or month > 12 or day < 1 or day > last_day(year, month) then return nil end
  local ms = days_of(year, month, day) * DAY_MS
  if rest == "" then return ms end
  local hour, minute, second, fraction, zone =
    rest:match("^[T ](%d%d):(%d%d):(%d%d)(%.?%d*)(.*)$")
  local offset_ms = zone and zone_ms(zone)
  if not offset_ms or tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 59
    or fraction == "." or (fraction ~= "" and fraction:sub(1, 1) ~= ".") then
    return nil
  end
  local millis = tonumber((fraction:sub(2) .. "000"):sub(1, 3))
  return ms + hour * 3600000 + minute * 60000 + second * 1000 + millis - offset_ms
end

-- ---- the tables ----

local function env_reader(values)
  return function(name, default)
    if not BUILT_IN_ENV[name] and values[name] == nil then
      error(("cs.env: %s may not be read"):format(name), 2)
    end
    local value = values[name]
    if value == nil or value == "" then return default end
    return value
  end
end

local function logger(lines, component, request)
  local log, passed_at = {}, {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    log[level] = function(text)
      lines[#lines + 1] = {
        level = level, component = component(), text = text, request = request(),
      }
    end
  end
  function log.limited(key, interval_ms, level, text)
    local now_ms = os.clock() * 1000
    local full_key = component() .. "\0" .. key
    if passed_at[full_key] and now_ms - passed_at[full_key] < interval_ms then return end
    passed_at[full_key] = now_ms
    log[level](text)
  end
  return log
end

local function counter_maker(counts)
  return function(name, labels)
    local key = name .. encode(labels or {}):gsub("^{}$", "")
    return {
      add = function(_, amount) counts[key] = (counts[key] or 0) + (amount or 1) end,
    }
  end
end

local function decode(text)
  local node, trouble = json.read(text)
  if not node then return nil, trouble end
  return cjson.decode(text)
end

local function raw(text)
  if type(text) ~= "string" then error("json: expected JSON text, got a " .. type(text), 2) end
  local node, trouble = json.read(text)
  if not node then error("json: " .. trouble, 2) end
  return setmetatable({ text = text }, encode.RAW)
end

local api = {}

-- options: env (name -> value), now_ms (the time that rules see; the clock's when nil), lines and
-- counters (filled), component and request (functions: whose lines these are, and about what).
function api.make(options)
  return {
    null = cjson.null,
    env = env_reader(options.env),
    log = logger(options.lines, options.component, options.request),
    counter = counter_maker(options.counters),
    json = {
      encode = encode,
      decode = decode,
      number = number.from,
      raw = raw,
      array = function(list) return setmetatable(list or {}, encode.ARRAY) end,
    },
    time = {
      now_ms = function() return options.now_ms or os.time() * 1000 end,
      iso = iso,
      parse = parse,
      add_months = add_months,
    },
  }
end

return api
