-- The service is ended by signals, at random moments.
local moments = require "spec.support.faults.moments"
local wait = require "spec.support.wait"

local MESSAGES = 4000 -- a round

local function service_killed(s, rounds)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:start(false)
    moments.wait(s)
    s.services[1]:kill()
  end
  s:start "ready"
end

local function service_stopped(s, rounds)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:start(false)
    wait.till("it takes signals", 20, function()
      return s.services[1]:admin "/healthz"
    end)
    moments.wait(s)
    s.services[1]:stop(15)
  end
  s:start "ready"
end

-- A static member of the group gets its partitions back at once: more kills while it writes.
local function static_member()
  return { kafka = "group.instance.id=only\n" }
end

return {
  { name = "kill -9 of the service", rounds = 30, run = service_killed, options = static_member },
  { name = "SIGTERM of the service", rounds = 10, run = service_stopped },
}
