-- All at once: members that come, go and stand still, PostgreSQL, its sessions, the broker and the
-- network, in any order, one upon the other.
local strike = require "spec.support.faults.strike"
local wait = require "spec.support.wait"

local MESSAGES, MEMBERS = 2000, 3

local function member(s)
  local n = math.random(MEMBERS)
  local one = s.services[n]
  if not one.process:is_running() then
    s:start(false, n)
  else
    one:kill()
  end
end

local function stand_still(s)
  local one = s.services[math.random(MEMBERS)].process
  one:signal "STOP"
  s:feed(MESSAGES)
  wait.pause(math.random() * 4)
  one:signal "CONT"
end

local function reload(s)
  for _, one in pairs(s.services) do
    one.process:signal "HUP"
  end
end

local blows = { member, member, stand_still, reload, strike.sessions, strike.postgres,
  strike.broker, strike.network, strike.network }

local function all_at_once(s, rounds, seconds)
  for n = 1, MEMBERS do
    s:start(false, n)
  end
  local till, count = wait.now() + (seconds or 0), 0
  while count < rounds or wait.now() < till do
    s:feed(MESSAGES)
    blows[math.random(#blows)](s)
    wait.pause(math.random())
    count = count + 1
  end
  for n = 1, MEMBERS do
    if not s.services[n].process:is_running() then
      s:start(false, n)
    end
  end
  return count
end

return {
  { name = "all of it at once", rounds = 10, run = all_at_once, seconds = 120,
    options = function()
      local options = strike.through_proxy()
      options.partitions = 4
      options.env = { DB_WRITE_TIMEOUT_MS = 2000 }
      return options
    end },
}
