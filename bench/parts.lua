-- The API on a table with a thousand parts: 64 clients ask for random ranges under wrk; and what
-- PostgreSQL says its statements took.
local parted = require "spec.support.parted"
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local parts = {}

local CLIENTS = 64
local PARTS = 3 -- that a statement may open

-- What wrk asks: half the ranges are short, the others of any length.
local REQUESTS = [[
math.randomseed(1)
function request()
  local from = math.random(0, %d - 1)
  local to = from + (math.random() < 0.5 and math.random(1, 250) or math.random(1, %d))
  return wrk.format("GET", ("/api/v1/klines/missed?symbol=%s&fromSeq=%%d&toSeq=%%d")
    :format(from, to))
end
]]

local function database(site)
  if not site.parted then
    site.parted = site.cluster:migrated "parts"
    parted.split(site.parted)
    parted.fill(site.parted)
    -- Texts and values would be most of the log.
    for name, value in pairs { log_min_duration_statement = 0, log_parameter_max_length = 0 } do
      site.parted:exec(("ALTER DATABASE %s SET %s = %d"):format(site.parted.name, name, value))
    end
  end
  return site.parted
end

local function start_wrk(port, seconds)
  local path = process.directory() .. "/requests.lua"
  local file = assert(io.open(path, "w"))
  file:write(REQUESTS:format(parted.HIGHEST, parted.HIGHEST, parted.SYMBOL))
  file:close()
  return process.spawn {
    argv = { "wrk", "-t2", "-c" .. CLIENTS, "-d" .. seconds, "--latency", "-s", path,
      ("http://127.0.0.1:%d"):format(port) },
  }
end

-- Milliseconds of each execution in PostgreSQL's log, planning included: this is what a bind of a
-- statement with a custom plan is.
local function read_durations(text)
  local durations, bound = {}, {}
  for pid, ms, step in text:gmatch "%[(%d+)%] LOG:  duration: ([%d.]+) ms  (%l+) [^\n:]*:" do
    if step == "bind" then
      bound[pid] = tonumber(ms)
    elseif step == "execute" and bound[pid] then
      durations[#durations + 1] = bound[pid] + tonumber(ms)
      bound[pid] = nil
    end
  end
  assert(#durations > 1000, "PostgreSQL's log has too few durations")
  table.sort(durations)
  return durations
end

local function serve(site)
  local db = database(site)
  site.service = service.start { database = db, env = { INGEST_WORKERS = 0 } }
  local before, most = #site.cluster.process:output(), 0
  local wrk = start_wrk(site.service.port, site.quick and 4 or 8)
  wait.till("wrk ends", 60, function()
    most = math.max(most, parted.most_locked(db))
    return not wrk:is_running()
  end)
  local output = wrk:output()
  assert(wrk:status().code == 0 and not output:find "Non%-2xx" and not output:find "Socket errors",
    output)
  assert(most >= 1 and most <= PARTS, most .. " parts were opened by a statement")
  local durations = read_durations(site.cluster.process:output():sub(before + 1))
  site:stop_service()
  local amount, unit = output:match "99%%%s+([%d.]+)(%a+)"
  return durations[math.ceil(#durations * 0.99)], {
    p50 = durations[math.ceil(#durations * 0.5)],
    api_p99_ms = tonumber(amount) * ({ us = 0.001, ms = 1, s = 1000 })[unit],
    requests = tonumber(output:match "Requests/sec:%s*([%d.]+)"),
    parts = most,
  }
end

parts.turns = { { name = "service", run = serve } }

return parts
