-- The API under wrk, and the same statements under pgbench.
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local socket = require "socket"
local wait = require "spec.support.wait"

local api = {}

local THREADS, POOL = 2, 2 -- the service's defaults: as many connections it holds
local CANDLES = 20000      -- of all symbols
local ROWS = 50

local requests = {
  rows = ("/api/v1/klines/missed?symbol=BTCUSDT&fromSeq=%d&toSeq=%d"):format(400, 400 + ROWS),
  empty = "/api/v1/klines/missed?symbol=BTCUSDT&fromSeq=900000&toSeq=900050",
}

local function seconds(site)
  return site.quick and 2 or 5
end

local function wrk(site, port, path, connections)
  local code, output = process.run {
    argv = { "wrk", "-t2", "-c" .. connections, "-d" .. seconds(site), "--latency",
      ("http://127.0.0.1:%d%s"):format(port, path) },
    seconds = 60,
  }
  local rate = tonumber(output:match "Requests/sec:%s*([%d.]+)")
  assert(code == 0 and rate and not output:find "Non%-2xx", output)
  local amount, unit = output:match "99%%%s+([%d.]+)(%a+)"
  return rate, { p99_ms = tonumber(amount) * ({ us = 0.001, ms = 1, s = 1000 })[unit] }
end

-- Candles in the tables, brought there by the service itself; once.
local function fill(site)
  if site.filled then return end
  site:ingest(site:topic(CANDLES, 1), CANDLES)
  site.database:exec "VACUUM ANALYZE market_klines"
  site.filled = { topic = site:topic(CANDLES, 1), group = site.group }
end

local function start(site)
  site:start_service(site.filled.topic, { MARKET_CONSUMER_GROUP_ID = site.filled.group })
end

local function serve(what, connections)
  return function(site)
    fill(site)
    start(site)
    local answer = site.service:get(requests[what])
    assert(answer.json.count == (what == "rows" and ROWS or 0), answer.body)
    local rate, more = wrk(site, site.service.port, requests[what], connections)
    site:stop_service()
    return rate, more
  end
end

-- PostgreSQL's log of what one request makes the service ask: statements with their parameters.
local function read_statements(text)
  local statements = {}
  for block in text:gmatch "execute [^:\n]+: (.-)\n[^\n]-DETAIL:  parameters: [^\n]*" do
    statements[#statements + 1] = { sql = block }
  end
  local i = 0
  for parameters in text:gmatch "DETAIL:  parameters: ([^\n]*)" do
    i = i + 1
    assert(statements[i], "PostgreSQL's log has parameters without a statement")
    statements[i].parameters = parameters
  end
  return statements
end

-- $3 becomes pgbench's :p1_3; NULL, which pgbench has none of, stands as it is.
local function for_pgbench(statements)
  local script, values = {}, {}
  for i, statement in ipairs(statements) do
    local given = {}
    for number, value in (statement.parameters .. ", "):gmatch "%$(%d+) = (.-), %f[%$%z]" do
      given[number] = value
    end
    local sql = statement.sql:gsub("%$(%d+)", function(number)
      local value = assert(given[number], "no parameter " .. number)
      if value == "NULL" then return "NULL::timestamptz" end
      values[#values + 1] = ("p%d_%s=%s"):format(i, number, value:match "^'(.*)'$")
      return (":p%d_%s"):format(i, number)
    end)
    script[#script + 1] = sql:gsub("%s+", " ") .. ";"
  end
  return table.concat(script, "\n") .. "\n", values
end

-- The statements behind a request, as the service sends them.
local function capture(site, what)
  site.database:exec(("ALTER DATABASE %s SET log_statement = 'all'"):format(site.database.name))
  start(site)
  site.service:get(requests[what])
  local before = #site.cluster.process:output()
  site.service:get(requests[what])
  local text = site.cluster.process:output():sub(before + 1)
  site:stop_service()
  site.database:exec(("ALTER DATABASE %s RESET log_statement"):format(site.database.name))
  local lines = {}
  for line in (text:gsub("\n\t", " ")):gmatch "[^\n]+" do
    if not line:find "ingest_offsets" and not line:find "wal_flush" then
      lines[#lines + 1] = line
    end
  end
  return read_statements(table.concat(lines, "\n") .. "\n")
end

local function pgbench_script(site, what)
  site.scripts = site.scripts or {}
  if not site.scripts[what] then
    local script, values = for_pgbench(capture(site, what))
    local path = process.directory() .. "/" .. what .. ".sql"
    local file = assert(io.open(path, "w"))
    file:write(script)
    file:close()
    site.scripts[what] = { path = path, values = values }
  end
  return site.scripts[what]
end

local function pgbench(what)
  return function(site)
    fill(site)
    local script = pgbench_script(site, what)
    local argv = { "pgbench", "-n", "-M", "prepared", "-c", tostring(THREADS * POOL), "-j", "2",
      "-T", tostring(seconds(site)), "-f", script.path }
    for _, value in ipairs(script.values) do
      argv[#argv + 1] = "-D"
      argv[#argv + 1] = value
    end
    argv[#argv + 1] = site.database.url
    local env = {
      PATH = os.getenv "PATH", -- as the service's readers
      PGOPTIONS = "-c plan_cache_mode=force_custom_plan -c jit=off",
    }
    local code, output = process.run { argv = argv, env = env, seconds = 60 }
    local rate = tonumber(output:match "tps = ([%d.]+)")
    assert(code == 0 and rate, output)
    return rate
  end
end

function api.turns(what, connections)
  return {
    { name = "service", run = serve(what, connections) },
    { name = "pgbench", run = pgbench(what) },
  }
end

local function static_service(connections)
  return function(site)
    fill(site)
    start(site)
    local rate, more = wrk(site, site.service.port, "/healthz", connections)
    site:stop_service()
    return rate, more
  end
end

local function static_limit(connections)
  return function(site)
    local port = ports.free()
    local server = process.spawn {
      name = "static", argv = { "build/bench/bench_static", tostring(port), tostring(THREADS) },
    }
    wait.till("bench_static listens", 5, function()
      local connection = socket.connect("127.0.0.1", port)
      if connection then connection:close() end
      return connection
    end)
    local rate, more = wrk(site, port, "/", connections)
    server:kill()
    return rate, more
  end
end

function api.static_turns(connections)
  return {
    { name = "service", run = static_service(connections) },
    { name = "bare evhttp", run = static_limit(connections) },
  }
end

return api
