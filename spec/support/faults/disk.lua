-- A disk of PostgreSQL is full, really: the tables', or that of the WAL, without which PostgreSQL
-- ends.
local postgres = require "spec.support.postgres"
local small_disk = require "spec.support.small_disk"
local wait = require "spec.support.wait"

local MESSAGES = 4000 -- a round
local LEFT_KILOBYTES = 300

-- It goes on within seconds of the disk being freed, not at the next restart.
local BACK_SECONDS = 30

local function expect_trouble(s, words)
  local one = s.services[1]
  wait.till("/readyz says " .. words, 60, function()
    local answer = one:admin "/readyz"
    return answer and answer.status == 503 and answer.body:find(words, 1, true)
  end)
  assert(one:admin "/healthz".status == 200)
end

local function tables_full(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s.disk:fill(LEFT_KILOBYTES)
    s:feed(MESSAGES)
    expect_trouble(s, "(53100)")
    s.services[1]:wait_for_log("(53100)", 5)
    assert(s.services[1]:metric 'core_service_ingest_retries_total{sqlstate="53100"}' > 0)
    s:feed(MESSAGES)
    s.disk:free()
    s:wait_ingested(BACK_SECONDS)
    s.services[1]:wait_for "/readyz"
  end
end

local function count_panics(cluster)
  return select(2, cluster.process:output():gsub("PANIC:", ""))
end

-- It may come back by itself, with what its crash recovery frees; else an operator makes room and
-- starts it.
local function wal_full(s, rounds)
  local cluster = s.database.cluster
  s:start "ready"
  for _ = 1, rounds do
    local before = count_panics(cluster)
    s.disk:fill(LEFT_KILOBYTES)
    wait.till("PostgreSQL ends for want of room", 60, function()
      s:feed(MESSAGES / 4)
      return count_panics(cluster) > before
    end)
    s.services[1]:wait_for_log("worker 0 has no PostgreSQL", 20)
    s.database:close()
    cluster:admin():close()
    s.disk:free()
    if pcall(cluster.process.wait, cluster.process, 2) then
      cluster:start()
    end
    s.services[1]:wait_for "/readyz"
    s:wait_ingested(BACK_SECONDS)
  end
end

local function on_small_tables()
  local disk = assert(small_disk.new(48))
  local cluster = postgres.new { within = disk.within }
  cluster:admin():exec(("CREATE TABLESPACE small LOCATION '%s'"):format(disk:make_directory "t"))
  return { disk = disk, database = cluster:migrated("disk", "TABLESPACE small") }
end

local function on_small_wal()
  local disk = assert(small_disk.new(64))
  local cluster = postgres.new {
    within = disk.within, initdb = { "--wal-segsize=1", "-X", disk:make_directory "wal" },
    settings = { max_wal_size = "1GB", min_wal_size = "2MB" }, -- none is used again
  }
  return { disk = disk, database = cluster:migrated "disk" }
end

return {
  { name = "the disk of the tables is full", rounds = 2, run = tables_full,
    impossible = small_disk.impossible, options = on_small_tables },
  { name = "the disk of the WAL is full", rounds = 2, run = wal_full,
    impossible = small_disk.impossible, options = on_small_wal },
}
