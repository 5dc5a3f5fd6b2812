-- Query parameters that several endpoints share, read one after the other:
--
--   local asked = param.steps { param.symbol, param.limit }
--   asked.read(req.query) -> { symbol = "BTCUSDT", limit = 100 }, or nil, 400, "Symbol is ..."
--   asked.parameters      -> what the file says of them, for the description of the API
--
-- A step has `parameters`, what it reads, and read(query, asked), which puts what it read into
-- `asked` and returns nil, or the text of the error. The first error is the answer.
local interval = require "lib.interval"

local DEFAULT_LIMIT = 100
local MAX_LIMIT = 1000
local MAX_WAIT_MS = 2000

local param = {}

function param.steps(steps)
  local parameters = {}
  for _, step in ipairs(steps) do
    for name, parameter in pairs(step.parameters) do parameters[name] = parameter end
  end
  return {
    parameters = parameters,
    read = function(query)
      local asked = {}
      for _, step in ipairs(steps) do
        local trouble = step.read(query, asked)
        if trouble then return nil, 400, trouble end
      end
      return asked
    end,
  }
end

-- True when the parameter was not given; `name=` without a value counts as not given.
function param.is_missing(text)
  return text == nil or text == ""
end

-- The number that `text` spells in decimal digits; nil for anything else.
function param.whole_number(text)
  return text:find("^%d+$") and tonumber(text, 10)
end

param.symbol = {
  parameters = {
    symbol = {
      required = true,
      description = "The trading pair, in upper or lower case",
      schema = { type = "string", minLength = 1, examples = { "BTCUSDT" } },
    },
  },
  read = function(query, asked)
    if param.is_missing(query.symbol) then return "Symbol is required" end
    asked.symbol = query.symbol:upper()
  end,
}

param.limit = {
  parameters = {
    limit = {
      description = ("How many at most; above %d counts as %d"):format(MAX_LIMIT, MAX_LIMIT),
      schema = { type = "integer", minimum = 1, default = DEFAULT_LIMIT },
    },
  },
  read = function(query, asked)
    local limit = DEFAULT_LIMIT
    if query.limit then limit = param.whole_number(query.limit) end
    if not limit or limit < 1 then
      return ("limit must be a number between 1 and %d"):format(MAX_LIMIT)
    end
    asked.limit = math.min(limit, MAX_LIMIT)
  end,
}

param.wait = {
  parameters = {
    wait = {
      description = "Milliseconds to hold the answer when all that is missing may come meanwhile",
      schema = { type = "integer", minimum = 0, maximum = MAX_WAIT_MS, default = 0 },
    },
  },
  read = function(query, asked)
    local wait_ms = 0
    if query.wait then wait_ms = param.whole_number(query.wait) end
    if not wait_ms or wait_ms > MAX_WAIT_MS then
      return ("wait must be a number between 0 and %d"):format(MAX_WAIT_MS)
    end
    asked.wait_ms = wait_ms
  end,
}

param.interval = {
  parameters = {
    interval = {
      description = "How long a candle lasts",
      schema = interval.schema,
    },
  },
  read = function(query, asked)
    asked.interval = query.interval or interval.default
    if not interval.table_of(asked.interval) then
      return "interval must be one of " .. interval.names
    end
  end,
}

return param
