-- What was thought to be gone comes back: a process that stood still for longer than the group
-- waits, a database as it was some time ago.
local moments = require "spec.support.faults.moments"
local turns = require "spec.support.faults.turns"
local wait = require "spec.support.wait"

local MESSAGES = 4000 -- a round
local PARTITIONS = 4

-- One of two members stands still in the middle of its work; the other must be able to do all of
-- it meanwhile. When the first comes back it has nothing to say any more.
local function stopped_and_back(s, rounds)
  s:start("ready", 1)
  s:start("ready", 2)
  for _ = 1, rounds do
    s:feed(2 * MESSAGES)
    moments.wait(s)
    local ghost = s.services[math.random(2)].process
    ghost:signal "STOP"
    s:feed(MESSAGES)
    s:wait_ingested(30)
    s:feed(MESSAGES)
    moments.wait(s)
    ghost:signal "CONT"
  end
  s:wait_ingested()
  turns.check(s)
end

-- Nobody is in the database while `change` happens to it.
local function alone(s, change)
  local admin = s.database.cluster:admin()
  s.database:close()
  admin:exec(("ALTER DATABASE %s ALLOW_CONNECTIONS false"):format(s.database.name))
  admin:exec(("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'")
    :format(s.database.name))
  wait.till("the database is left alone", 10, function()
    return admin:number(("SELECT count(*) FROM pg_stat_activity WHERE datname = '%s'")
      :format(s.database.name)) == 0
  end)
  change(admin, s.database.name)
  admin:exec(("ALTER DATABASE %s ALLOW_CONNECTIONS true"):format(s.database.name))
end

local function keep_copy(admin, name)
  admin:exec(("CREATE DATABASE %s_copy TEMPLATE %s"):format(name, name))
end

local function put_copy_back(admin, name)
  admin:exec(("DROP DATABASE %s"):format(name))
  admin:exec(("ALTER DATABASE %s_copy RENAME TO %s"):format(name, name))
end

-- A standby that was behind is promoted, or a backup restored: what was committed since is gone,
-- though Kafka has been told of it. It must be read again, by a service that runs or is started.
local function older_copy(s, rounds)
  s:start "ready"
  for round = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    alone(s, keep_copy)
    s:feed(MESSAGES)
    s:wait_ingested()
    moments.wait(s)
    if round % 2 == 0 then
      s.services[1]:stop()
    end
    alone(s, put_copy_back)
    if round % 2 == 0 then
      s:start(false)
    end
  end
end

return {
  { name = "a process stands still and comes back", rounds = 4, run = stopped_and_back,
    options = function() return { partitions = PARTITIONS, batch = 1000 } end },
  { name = "an older copy takes PostgreSQL's place", rounds = 4, run = older_copy },
}
