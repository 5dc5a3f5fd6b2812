-- Ends by signals: of the service, of PostgreSQL and of the broker, at random moments.
local wait = require "spec.support.wait"

local MESSAGES = 4000 -- a round

-- Half of the moments lie anywhere from the start on, half within the writing.
local function wait_for_a_moment(s)
  if math.random(2) == 1 then
    wait.pause(math.random() * 1.5)
    return
  end
  local from, to = s:progress(), s:ends()
  s:wait_progress(from + math.random(math.max(1, math.floor((to - from) * 0.8))))
end

local function service_killed(s, rounds)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:start(false)
    wait_for_a_moment(s)
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
    wait_for_a_moment(s)
    s.services[1]:stop(15)
  end
  s:start "ready"
end

local function backends_killed(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    wait_for_a_moment(s)
    s.database:exec [[
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND datname = current_database()]]
  end
end

-- A static member of the group gets its partitions back at once: more kills while it writes.
local function static_member()
  return { kafka = "group.instance.id=only\n" }
end

return {
  { name = "kill -9 of the service", rounds = 30, run = service_killed, options = static_member },
  { name = "SIGTERM of the service", rounds = 10, run = service_stopped },
  { name = "PostgreSQL's sessions are ended", rounds = 20, run = backends_killed },
}
