-- What a message and a query cost as the table, its parts, the partitions of the topic and the
-- processes grow. Values are microseconds by the clock: service, PostgreSQL and clients share the
-- machine, so that this is what a message costs all of them together.
local parted = require "spec.support.parted"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local growth = {}

local MESSAGES = 100000 -- each a new candle, in one take
local UPDATES = 60
local CLIENTS, ROWS = 16, 50 -- of the queries
local MINUTE = 60
local THIN = 1244 -- seconds between two candles of a table in parts: 69 a day

local SYMBOLS = {
  "BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "AVAXUSDT",
  "DOTUSDT", "LINKUSDT", "LTCUSDT", "TRXUSDT", "ATOMUSDT", "UNIUSDT", "XLMUSDT", "NEARUSDT",
  "APTUSDT", "FILUSDT", "ARBUSDT", "OPUSDT", -- the feed's
}

-- ---- tables with a history ----

local HISTORY = [[
  (SELECT n, '2024-01-01Z'::timestamptz - (%d - n + 1) * interval '%d seconds' AS time
   FROM generate_series(1, %d) n) h]]

-- `rows` candles from before the feed's first one, and the ledger that belongs to them.
local function fill(database, rows, seconds)
  local each = rows / #SYMBOLS
  local history = HISTORY:format(each, seconds, each)
  local symbols = "unnest('{" .. table.concat(SYMBOLS, ",") .. "}'::text[]) symbol"
  -- Its index is made afterwards: a third less time.
  database:exec "DROP INDEX idx_market_klines_symbol_sequence"
  database:exec(([[
    INSERT INTO market_klines (time, symbol, open, high, low, close, volume, sequence)
      SELECT time, symbol, 50000.5, 50100.25, 49900.75, 50050.5, 10.125, n
      FROM %s CROSS JOIN LATERAL %s]]):format(history, symbols))
  database:exec [[
    CREATE INDEX idx_market_klines_symbol_sequence ON market_klines (symbol, sequence)
      WHERE sequence IS NOT NULL]]
  database:exec(([[
    INSERT INTO sequence_ranges
      SELECT 'market_klines', symbol, day, low, high, first, last
      FROM (SELECT (time AT TIME ZONE 'UTC')::date AS day, min(n) AS low, max(n) AS high,
              min(time) AS first, max(time) AS last
            FROM %s GROUP BY 1) days CROSS JOIN LATERAL %s]]):format(history, symbols))
  database:exec "ANALYZE market_klines, sequence_ranges"
end

-- The table with so many rows; made once. `in_parts`: by day, in a thousand parts.
local function table_of(site, rows, in_parts)
  local key = ("growth_%d%s"):format(rows, in_parts and "_parts" or "")
  site.grown = site.grown or {}
  if not site.grown[key] then
    local database = site.cluster:migrated(key)
    if in_parts then parted.split(database) end
    local each = rows / #SYMBOLS
    fill(database, rows, in_parts and THIN or MINUTE)
    site.grown[key] = { database = database, each = each, minutes = 0 }
  end
  return site.grown[key]
end

-- ---- one take: messages, then queries ----

-- Any candle and the 49 behind it, of any symbol.
local REQUESTS = [[
math.randomseed(%d)
local symbols = { "%s" }
function request()
  local from = math.random(0, %d)
  return wrk.format("GET", ("/api/v1/klines/missed?symbol=%%s&fromSeq=%%d&toSeq=%%d")
    :format(symbols[math.random(#symbols)], from, from + %d))
end
]]

-- Microseconds a query, with all clients asking at once.
local function ask(site, grown)
  local answer = site.service:get(("/api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d"):format(
    SYMBOLS[1], grown.each - ROWS, grown.each))
  assert(answer.json.count == ROWS and answer.json.complete, answer.body)
  local path = process.directory() .. "/requests.lua"
  local file = assert(io.open(path, "w"))
  file:write(REQUESTS:format(grown.minutes, table.concat(SYMBOLS, '", "'), grown.each - ROWS, ROWS))
  file:close()
  local code, output = process.run {
    argv = { "wrk", "-t2", "-c" .. CLIENTS, "-d" .. (site.quick and 2 or 3), "-s", path,
      ("http://127.0.0.1:%d"):format(site.service.port) },
    seconds = 60,
  }
  local rate = tonumber(output:match "Requests/sec:%s*([%d.]+)")
  assert(code == 0 and rate and not output:find "Non%-2xx", output)
  return 1e6 / rate
end

local function take(rows, in_parts)
  return function(site)
    local grown = table_of(site, rows, in_parts)
    local topic = site:new_topic()
    grown.minutes = grown.minutes + MESSAGES / #SYMBOLS
    site:produce(topic, site.PARTITIONS, MESSAGES, 1, grown.minutes)
    grown.database:exec "CHECKPOINT"
    local query_us
    local rate, cpu_us = site:ingest(topic, MESSAGES, nil, {
      database = grown.database, keeps = true,
      then_run = function() query_us = ask(site, grown) end,
    })
    return 1e6 / rate, { cpu_us = cpu_us, query_us = query_us }
  end
end

-- ---- the measures' turns ----

function growth.rows(quick)
  local turns = {
    { name = "100,000 rows", run = take(1e5) },
    { name = "1,000,000 rows", run = take(1e6) },
    { name = "10,000,000 rows", run = take(1e7) },
  }
  if quick then turns[3] = nil end
  return turns
end

function growth.parts(quick)
  local rows = quick and 1e5 or 1e6
  return {
    { name = "one table", run = take(rows) },
    { name = "1,000 day partitions", run = take(rows, true) },
  }
end

local function count(site)
  return site.quick and 150000 or 300000
end

function growth.workers()
  local turns = {}
  for _, n in ipairs { 1, 2, 4 } do
    turns[#turns + 1] = {
      name = ("%d partition%s and worker%s"):format(n, n > 1 and "s" or "", n > 1 and "s" or ""),
      run = function(site)
        local rate, cpu_us, mb = site:ingest(site:topic(count(site), UPDATES, n), count(site),
          { INGEST_WORKERS = n }, { apart = n > 1 })
        return 1e6 / rate, { cpu_us = cpu_us, mb = mb }
      end,
    }
  end
  return turns
end

-- All are members of one group before the first message comes, so that none has to be given up.
local function with_processes(n)
  return function(site)
    site:empty_tables()
    local topic, all = site:new_topic(), {}
    for i = 1, n do
      all[i] = site:start_service(topic, nil, { joins = i > 1 })
    end
    wait.till("each has its partitions", 30, function()
      local assigned = 0
      for _, one in ipairs(all) do
        for _ in one:admin("/metrics").body:gmatch "core_service_ingest_assigned{[^\n]-} 1\n" do
          assigned = assigned + 1
        end
      end
      return assigned == site.PARTITIONS and site:progress() == 0, assigned .. " are assigned"
    end)
    local began, used = wait.now(), 0
    for _, one in ipairs(all) do used = used - site:cpu_seconds(one) end
    site:produce(topic, site.PARTITIONS, count(site), UPDATES)
    wait.till("all is stored", 120, function() return site:progress() == count(site) end, 0.005)
    local seconds = wait.now() - began
    for _, one in ipairs(all) do used = used + site:cpu_seconds(one) end
    for _, one in ipairs(all) do site:stop_service(one) end
    return seconds * 1e6 / count(site), { cpu_us = used * 1e6 / count(site) }
  end
end

function growth.processes()
  return {
    { name = "1 process", run = with_processes(1) },
    { name = "3 processes", run = with_processes(3) },
  }
end

return growth
