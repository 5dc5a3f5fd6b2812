-- PostgreSQL, Kafka and the network between go away at random moments, and come back.
local kafka = require "spec.support.kafka"
local moments = require "spec.support.faults.moments"
local postgres = require "spec.support.postgres"
local proxy = require "spec.support.proxy"
local strike = require "spec.support.faults.strike"
local wait = require "spec.support.wait"

local MESSAGES = 4000 -- a round

-- PostgreSQL keeps commits in memory for as long as it may, so that a crash takes them back.
local function make_slow_to_flush(s)
  local admin = postgres.shared():admin()
  admin:exec "ALTER SYSTEM SET wal_writer_delay = '10s'"
  admin:exec "ALTER SYSTEM SET wal_writer_flush_after = '1GB'"
  admin:exec "SELECT pg_reload_conf()"
  s:on_close(function()
    admin:exec "ALTER SYSTEM RESET ALL"
    admin:exec "SELECT pg_reload_conf()"
  end)
end

local function sessions_ended(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    strike.sessions(s)
  end
end

local function crash(s)
  strike.postgres(s)
  s.services[1]:wait_for "/readyz"
end

local function postgres_killed(s, rounds)
  make_slow_to_flush(s)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    crash(s)
  end
end

-- The crash takes back commits that the service was told of, and no message comes after.
local function postgres_killed_when_quiet(s, rounds)
  make_slow_to_flush(s)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(50)
    s:wait_ingested()
    crash(s)
    s:wait_ingested(20)
  end
end

local function broker_killed(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    strike.broker(s)
  end
end

-- ---- the network ----

local function network(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    strike.network(s)
  end
end

local function to_kafka()
  local broker = kafka.shared()
  local between = proxy.start(broker.behind, broker.proxied)
  return { between = between, bootstrap = "127.0.0.1:" .. broker.proxied }
end

-- Nothing comes back for longer than the service waits: it must give the connection up itself.
local function silent_postgres(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    s.between:tell "silence"
    s:feed(100)
    wait.till("the service gives the silent connection up", 30, function()
      return s.services[1]:text():find("worker 0 has no PostgreSQL", 1, true)
    end)
    s.between:tell "reset"
    s.between:tell "pass"
    s.services[1]:wait_for "/readyz"
  end
end

-- PostgreSQL has half of a write, and waits for the rest of it for as long as it keeps the lost
-- connection; whoever writes these partitions next must not wait with it.
local function lost_within_a_write(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s.between:tell("lose_after " .. math.random(300000))
    s:feed(4 * MESSAGES)
    s:wait_ingested(40)
  end
end

local function hasty_to_postgres()
  local options = strike.through_proxy()
  options.env = { DB_WRITE_TIMEOUT_MS = 1000 }
  return options
end

return {
  { name = "PostgreSQL's sessions are ended", rounds = 20, run = sessions_ended },
  { name = "the whole of PostgreSQL is killed", rounds = 4, run = postgres_killed },
  { name = "PostgreSQL is killed when all is quiet", rounds = 2, run = postgres_killed_when_quiet },
  { name = "the broker is killed", rounds = 2, run = broker_killed },
  { name = "the network to PostgreSQL misbehaves", rounds = 12, run = network,
    options = strike.through_proxy },
  { name = "the network to Kafka misbehaves", rounds = 12, run = network, options = to_kafka },
  { name = "PostgreSQL says nothing any more", rounds = 1, run = silent_postgres,
    options = hasty_to_postgres },
  { name = "a connection is lost within a write", rounds = 2, run = lost_within_a_write,
    options = hasty_to_postgres },
}
