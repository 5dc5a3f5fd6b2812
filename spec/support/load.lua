-- Messages as producers of market data send them, in the mixture that hurts: many updates of a
-- candle, late and equal numbers, none at all, nonsense, tombstones. Each candle's volume is its
-- serial number: with it a row tells which message it came from.
local bit = require "bit"

local load = {}
local Load = {}
Load.__index = Load

local START_MS, MINUTE_MS = 1704067200000, 60000
local INTERVALS = { "1m", "1m", "1m", "5m", "1h" }

-- options:
--   partitions
--   symbols (5 a partition)
--   bad (10)                  parts of a thousand that cannot be stored
--   distinct                  every message has a number of its own; they still come out of order
function load.new(options)
  return setmetatable({
    partitions = options.partitions, distinct = options.distinct, bad = options.bad or 10,
    serial = 0, sequence = 0,
    symbols = options.symbols or 5 * options.partitions,
  }, Load)
end

local function ingester(k)
  return ('{"symbol":"%s","interval":"%s","kline":{"openTime":%d,"open":"%s","high":"%s",' ..
    '"low":"%s","close":"%s","volume":"%d"}%s}'):format(k.symbol, k.interval, k.time, k.open,
    k.high, k.low, k.close, k.volume, k.seq and (',"seq":%d'):format(k.seq) or "")
end

local function flat(k)
  return ('{"s":"%s","i":"%s","t":%d,"o":%s,"h":%s,"l":%s,"c":%s,"v":%d%s}'):format(k.symbol,
    k.interval, k.time, k.open, k.high, k.low, k.close, k.volume,
    k.seq and (',"seq":%d'):format(k.seq) or "")
end

-- A candle with the next serial and sequence number; `fields` replace parts of it.
function Load:candle(fields)
  self.serial = self.serial + 1
  self.sequence = self.sequence + 1
  local k = {
    symbol = "S0USDT", interval = "1m", time = START_MS, open = 100, low = 50, high = 2000,
    close = 100 + self.serial % 4000 / 4, volume = self.serial, seq = self.sequence,
  }
  for name, value in pairs(fields or {}) do
    k[name] = value
  end
  if k.seq == "none" then
    k.seq = nil
  end
  return k
end

-- As a message for the partition that carries its symbol.
function Load:message(fields, partition)
  local k = self:candle(fields)
  local value = math.random(2) == 1 and ingester(k) or flat(k)
  return { value = value, key = k.symbol .. "_" .. k.interval, partition = partition or 0 }
end

local nonsense = {
  function(self) return "not json " .. self:candle().volume end,
  function(self) return ('{"no":"shape %d"}'):format(self:candle().volume) end,
  function(self) return flat(self:candle { high = 1 }) end,
  function(self) return flat(self:candle { interval = "3m" }) end,
  function(self) return flat(self:candle { symbol = "TOOLONGFORTHECOLUMN_X" }) end,
}

-- The next message of the mixture; `only` for this partition.
function Load:next(only)
  local number = math.random(self.symbols)
  if only then
    number = number - number % self.partitions + only
  end
  local partition = number % self.partitions
  local dice = math.random(1000)
  if dice <= self.bad then
    return { value = nonsense[math.random(#nonsense)](self), key = "bad", partition = partition }
  elseif dice <= self.bad + 5 then
    return { value = nil, key = "tombstone", partition = partition }
  end
  local fields = {
    symbol = ("S%dUSDT"):format(number),
    interval = INTERVALS[math.random(#INTERVALS)],
    time = START_MS + (math.floor(self.serial / 400) + math.random(0, 2)) * MINUTE_MS,
  }
  if self.distinct then
    fields.seq = bit.bxor(self.serial + 1, 63)
  elseif dice >= 920 then
    fields.seq = math.max(1, self.sequence + 1 - math.random(0, 3000))
  elseif dice >= 870 then
    fields.seq = "none"
  end
  return self:message(fields, partition)
end

function Load:many(count)
  local messages = {}
  for i = 1, count do
    messages[i] = self:next()
  end
  return messages
end

return load
