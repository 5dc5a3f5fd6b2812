-- PostgreSQL refuses: one row, every row, for a while, because of others.
local libpq = require "spec.support.libpq"
local moments = require "spec.support.faults.moments"
local wait = require "spec.support.wait"

local MESSAGES = 2000 -- a round

-- ---- rows ----

local function poisoned(s)
  return s.load:message { symbol = ("S%dUSDT"):format(s.partitions), open = 666 }
end

local function refuses_666(k)
  return k.open == 666 and k.interval == "1m"
end

local function add_check(s)
  s.database:exec "ALTER TABLE market_klines ADD CONSTRAINT no_poison CHECK (open <> 666)"
end

-- Here and there, in a run, and as the newest update of a candle whose older ones are good.
local function poison_among_thousands(s, rounds)
  add_check(s)
  s:start "ready"
  for _ = 1, rounds do
    local messages = {}
    for i = 1, MESSAGES do
      messages[i] = s.load:next()
      if math.random(200) == 1 then
        for _ = 1, math.random(40) do
          messages[#messages + 1] = poisoned(s)
        end
      end
    end
    s:feed(messages)
  end
end

local function poison_alone(s, rounds)
  add_check(s)
  s:start "ready"
  s:feed { s.load:message { symbol = "S3USDT" } }
  s:wait_ingested()
  for _ = 1, rounds do
    s:feed { poisoned(s) }
    s:wait_ingested()
  end
end

-- 22001: a third of one table's rows does not fit.
local function too_long(s, rounds)
  s.database:exec "ALTER TABLE klines ALTER symbol TYPE varchar(6)"
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES / 4)
  end
end

-- ---- the table ----

local function count_rejected(s)
  return s.database:number "SELECT count(*) FROM rejected_messages WHERE stage = 'database'"
end

local function table_changed(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    s.database:exec [[
      ALTER TABLE market_klines ADD must TEXT NOT NULL DEFAULT '';
      ALTER TABLE market_klines ALTER must DROP DEFAULT]]
    s:feed(MESSAGES)
    wait.till("the stream is paused", 20, function()
      local answer = s.services[1]:admin "/readyz"
      return answer.status == 503 and answer.body:find("is paused", 1, true)
    end)
    assert(count_rejected(s) == 0, "messages were rejected because of the table")
    s.database:exec "ALTER TABLE market_klines DROP must"
    s.services[1]:admin("/admin/rules/reload", { method = "POST" })
    s:wait_ingested(20) -- at once, not in half a minute
    s.services[1]:wait_for "/readyz"
  end
end

-- The table is mended while the trouble is still being looked into.
local function table_changed_shortly(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s.database:exec "ALTER TABLE market_klines ADD CONSTRAINT never CHECK (open < 0) NOT VALID"
    wait.pause(math.random() * 0.1)
    s.database:exec "ALTER TABLE market_klines DROP CONSTRAINT never"
    s.services[1]:admin("/admin/rules/reload", { method = "POST" })
    s:wait_ingested()
    assert(count_rejected(s) == 0, "messages were rejected because of the table")
  end
end

-- ---- the server ----

local function read_only(s, rounds)
  local admin = s.database.cluster:admin()
  s:on_close(function()
    admin:exec "ALTER SYSTEM RESET default_transaction_read_only"
    admin:exec "SELECT pg_reload_conf()"
  end)
  s:start "ready"
  for _ = 1, rounds do
    admin:exec "ALTER SYSTEM SET default_transaction_read_only = on"
    admin:exec "SELECT pg_reload_conf()"
    s:feed(MESSAGES)
    s.services[1]:wait_for_log("(25006)", 20)
    admin:exec "ALTER SYSTEM RESET default_transaction_read_only"
    admin:exec "SELECT pg_reload_conf()"
  end
end

-- Others take every connection that there is.
local function no_connections(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    local others = {}
    s.database:exec [[
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND datname = current_database()]]
    for i = 1, 200 do
      local one = libpq.connect(s.database.cluster:url())
      if not one then
        break
      end
      others[i] = one
    end
    s:feed(100)
    wait.pause(1)
    for _, one in ipairs(others) do
      one:close()
    end
  end
end

local function raise(s, sqlstate, what)
  s.database:exec(([[
    CREATE OR REPLACE FUNCTION spec_raise() RETURNS TRIGGER LANGUAGE plpgsql AS
      $$ BEGIN RAISE '%s' USING ERRCODE = '%s'; END $$;
    CREATE TRIGGER spec_raise BEFORE INSERT ON market_klines EXECUTE FUNCTION spec_raise()]])
    :format(what, sqlstate))
end

-- 53100 as PostgreSQL says it, from a trigger: no file system is filled.
local function disk_full(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    raise(s, "53100", "could not extend file: No space left on device")
    s:feed(MESSAGES)
    s.services[1]:wait_for_log("(53100)", 20)
    s.database:exec "DROP TRIGGER spec_raise ON market_klines"
  end
end

-- ---- other sessions ----

local function other_session(s)
  local other = assert(libpq.connect(s.database.url))
  s:on_close(function() other:close() end)
  return function(sql)
    return assert(other:rows(sql))
  end
end

local function wait_until_blocked(s)
  wait.till("the service waits for a lock", 20, function()
    return s.database:number [[
      SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'
      AND datname = current_database()]] > 0
  end)
end

local function lock_timeout(s, rounds)
  s.database:exec(("ALTER DATABASE %s SET lock_timeout = '100ms'"):format(s.database.name))
  s:start "ready"
  local other = other_session(s)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    other "BEGIN; LOCK TABLE market_klines IN EXCLUSIVE MODE"
    s:feed(MESSAGES)
    s.services[1]:wait_for_log("(55P03)", 20)
    other "COMMIT"
  end
end

-- The other session comes to be waited for second, so the service is the one that is sacrificed.
local function deadlock(s, rounds)
  s.database:exec(("ALTER DATABASE %s SET deadlock_timeout = '300ms'"):format(s.database.name))
  s:start "ready"
  s:feed(MESSAGES)
  s:wait_ingested()
  local other = other_session(s)
  other "SET deadlock_timeout = '60s'"
  for _ = 1, rounds do
    other "BEGIN; LOCK TABLE market_klines IN EXCLUSIVE MODE"
    s:feed(MESSAGES)
    wait_until_blocked(s)
    other "SELECT FROM klines FOR UPDATE; SELECT FROM ingest_offsets FOR UPDATE; COMMIT"
  end
  assert(s.services[1]:text():find("(40P01)", 1, true), "there was no deadlock")
end

-- A lock that lasts longer than a statement may, and ends at any moment of the search for a
-- culprit: there is none.
local function statement_timeout(s, rounds)
  s:start "ready"
  local other = other_session(s)
  for _ = 1, rounds do
    s:feed(MESSAGES / 4)
    other "BEGIN; LOCK TABLE market_klines IN EXCLUSIVE MODE"
    wait.pause(0.5 + math.random() * 2.5)
    other "COMMIT"
    s.services[1]:admin("/admin/rules/reload", { method = "POST" })
    s:wait_ingested()
    assert(count_rejected(s) == 0, "messages were rejected because of a lock")
  end
end

return {
  { name = "poison rows among thousands", rounds = 3, run = poison_among_thousands,
    options = function() return { refuses = refuses_666, batch = 2000 } end },
  { name = "a poison row alone", rounds = 5, run = poison_alone,
    options = function() return { refuses = refuses_666 } end },
  { name = "rows too long for a column", rounds = 1, run = too_long,
    options = function()
      return { refuses = function(k) return k.interval ~= "1m" and #k.symbol > 6 end, batch = 2000 }
    end },
  { name = "a table that refuses every row", rounds = 2, run = table_changed },
  { name = "a table that refuses every row for a moment", rounds = 10,
    run = table_changed_shortly },
  { name = "PostgreSQL is read-only", rounds = 1, run = read_only },
  { name = "no connection is left", rounds = 2, run = no_connections },
  { name = "PostgreSQL says that the disk is full", rounds = 1, run = disk_full },
  { name = "a lock times out", rounds = 2, run = lock_timeout },
  { name = "a deadlock with another session", rounds = 2, run = deadlock },
  { name = "a statement times out", rounds = 4, run = statement_timeout,
    options = function() return { env = { DB_WRITE_TIMEOUT_MS = 100 } } end },
}
