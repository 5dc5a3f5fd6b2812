-- Query parameters that several endpoints share, read one after the other:
--
--   local read = param.steps { param.symbol, param.limit }
--   read(req.query) -> { symbol = "BTCUSDT", limit = 100 }     or: nil, 400, "Symbol is required"
--
-- A step is a function(query, asked): it puts what it read into `asked` and returns nil, or the
-- text of the error. The first error is the answer.
local interval = require "lib.interval"

local DEFAULT_LIMIT = 100
local MAX_LIMIT = 1000
local MAX_WAIT_MS = 2000

local param = {}

function param.steps(steps)
  return function(query)
    local asked = {}
    for _, step in ipairs(steps) do
      local trouble = step(query, asked)
      if trouble then return nil, 400, trouble end
    end
    return asked
  end
end

-- True when the parameter was not given; `name=` without a value counts as not given.
function param.is_missing(text)
  return text == nil or text == ""
end

-- The number that `text` spells in decimal digits; nil for anything else.
function param.whole_number(text)
  return text:find("^%d+$") and tonumber(text, 10)
end

function param.symbol(query, asked)
  if param.is_missing(query.symbol) then return "Symbol is required" end
  asked.symbol = query.symbol:upper()
end

function param.limit(query, asked)
  local limit = DEFAULT_LIMIT
  if query.limit then limit = param.whole_number(query.limit) end
  if not limit or limit < 1 then
    return ("limit must be a number between 1 and %d"):format(MAX_LIMIT)
  end
  asked.limit = math.min(limit, MAX_LIMIT)
end

function param.wait(query, asked)
  local wait_ms = 0
  if query.wait then wait_ms = param.whole_number(query.wait) end
  if not wait_ms or wait_ms > MAX_WAIT_MS then
    return ("wait must be a number between 0 and %d"):format(MAX_WAIT_MS)
  end
  asked.wait_ms = wait_ms
end

function param.interval(query, asked)
  asked.interval = query.interval or interval.default
  if not interval.table_of(asked.interval) then
    return "interval must be one of " .. interval.names
  end
end

return param
