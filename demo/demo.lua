-- scripts/demo starts this; the harness of the specs owns the processes.
local frontend = require "demo.frontend"
local interrupt = require "spec.support.interrupt"
local ports = require "spec.support.ports"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local rdkafka = require "spec.support.rdkafka"
local service = require "spec.support.service"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local TOPIC, GROUP, PARTITIONS = "market_data", "core-service-market-consumer", 4
local SYMBOL = "BTCUSDT"
local LOST_SECONDS = 2
local REPEAT_SECONDS = 15

local once = arg[1] == "--once"
local interactive = unistd.isatty(1) == 1
local INTERRUPTED = {}
local parts = {} -- what runs

local function say(...)
  print(string.format(...))
  io.stdout:flush()
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function start_database()
  local url = environment "DATABASE_URL"
  if not url then
    say "starting PostgreSQL"
    url = postgres.new():url()
  end
  say "applying migrations"
  local code, output = process.run {
    argv = { "scripts/migrate" }, env = { PATH = os.getenv "PATH", DATABASE_URL = url },
    seconds = 120,
  }
  assert(code == 0, "scripts/migrate:\n" .. output)
  return postgres.connect(url)
end

-- In a database that was used before, the market goes on where it was.
local function feed_arguments(database)
  local row = database:rows [[
    SELECT coalesce(max(sequence), 0) + 1 AS seq,
      (extract(epoch FROM coalesce(max(time) + interval '1 minute', '2024-01-01Z')) * 1000)::bigint
        AS from_ms
    FROM market_klines]][1]
  return { "build/demo-broker", "--topic", TOPIC, "--group", GROUP, "--partitions",
    tostring(PARTITIONS), "--first-seq", row.seq, "--from", row.from_ms }
end

local function start_broker(database)
  local given = environment "KAFKA_BROKERS"
  say(given and "starting the market in Kafka at " .. given or "starting a broker with a market")
  local argv = feed_arguments(database)
  if given then
    argv[#argv + 1] = "--brokers"
    argv[#argv + 1] = given
    local client = rdkafka.client(given)
    if client:partition_count(TOPIC) == 0 then
      client:create_topic(TOPIC, PARTITIONS)
    end
  end
  local feed = process.spawn { name = "demo-broker", argv = argv }
  local bootstrap = wait.till("demo-broker runs", 10, function()
    feed:must_run()
    return feed:output():match "bootstrap (%S+)\n"
  end)
  return { process = feed, bootstrap = bootstrap }
end

local function describe(database, broker, server)
  say [[

What runs:]]
  say("  API       http://127.0.0.1:%d/api/v1/klines/missed?symbol=%s&fromSeq=100&toSeq=150",
    server.port, SYMBOL)
  say("  admin     http://127.0.0.1:%d/metrics   /readyz   /admin/rules", server.admin_port)
  say("  database  psql '%s'", database.url)
  say("  Kafka     %s, topic %s", broker.bootstrap, TOPIC)
  say("  logs      %s", server.log)
  say("            %s", broker.process.log)
  say "  rules     edit and save lua/streams/market_data_v2.lua: it is live within a second\n"
end

local function recover_a_gap()
  local from, first, lost = frontend.lose(parts.next_message, SYMBOL, LOST_SECONDS)
  local result = frontend.prove(parts.server.port, parts.database, SYMBOL, from, first - 1, lost)
  return {
    from = from, to = first - 1, lost = #lost, candles = #result.candles,
    pages = result.pages, last = result.candles[#result.candles],
  }
end

local function tell(r)
  say("A frontend lost %d messages of %s: sequences %d to %d.", r.lost, SYMBOL, r.from + 1, r.to)
  say("It asked GET /api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d&wait=2000", SYMBOL, r.from,
    r.to)
  say("and got %d candles in %d page(s), with \"complete\": true.", r.candles, r.pages)
  say("The last: seq %d, open time %s, close %s.", r.last.seq,
    os.date("!%Y-%m-%dT%H:%M:%SZ", r.last.timestamp / 1000), r.last.kline.c)
  say "Proved: these are the table's rows of that range, and no candle that was finished"
  say "meanwhile is missing."
end

local function totals(database)
  local row = database:rows(([[
    SELECT (SELECT coalesce(sum(next_offset), 0) FROM ingest_offsets WHERE group_id = '%s') AS done,
      (SELECT coalesce(sum(n_live_tup), 0) FROM pg_stat_user_tables
       WHERE relname = 'market_klines') AS rows]]):format(GROUP))[1]
  return tonumber(row.done), tonumber(row.rows)
end

local function show_status(text)
  if interactive then
    io.stdout:write("\r\27[K", text)
    io.stdout:flush()
  else
    say("%s", text)
  end
end

-- The frontend goes on reading.
local function read_for(seconds)
  local till = wait.now() + seconds
  while wait.now() < till do
    if not parts.next_message(50) then
      wait.on_pause()
    end
  end
  wait.on_pause()
end

-- Until Ctrl-C: a status line, and a gap every now and then.
local function watch(recovery)
  local status_seconds = interactive and 1 or 5
  local done, at = totals(parts.database), wait.now()
  local recovered_at = at
  say "Ctrl-C ends everything."
  while true do
    read_for(status_seconds)
    if wait.now() - recovered_at > REPEAT_SECONDS then
      recovery = recover_a_gap()
      recovered_at = wait.now()
    end
    local now_done, rows = totals(parts.database)
    local now = wait.now()
    show_status(("%6.0f messages/s   %d rows   last recovery: %d candles of %d lost messages, " ..
      "%.0f s ago"):format((now_done - done) / (now - at), rows, recovery.candles, recovery.lost,
      now - recovered_at))
    done, at = now_done, now
  end
end

local function run()
  parts.database = start_database()
  parts.broker = start_broker(parts.database)
  say "starting core-service"
  parts.server = service.start {
    database = parts.database, broker = parts.broker, topic = TOPIC, group = GROUP,
    port = ports.prefer(8000), admin_port = ports.prefer(8001),
    -- the feed counts the candles of each symbol by themselves
    env = { MARKET_DATA_NUMBERING = "dense" },
  }
  describe(parts.database, parts.broker, parts.server)
  parts.next_message = rdkafka.client(parts.broker.bootstrap):follow(TOPIC)
  local recovery = recover_a_gap()
  tell(recovery)
  if not once then
    watch(recovery)
  end
end

-- The service first, as it tells Kafka how far it came; the watchdog ends the rest.
local function stop()
  say "\nstopping"
  wait.on_pause = function() end
  parts.server:stop()
  parts.broker.process:stop(10)
end

interrupt.watch()
function wait.on_pause()
  if interrupt.seen() then
    error(INTERRUPTED, 0)
  end
  for _, part in ipairs { parts.broker, parts.server } do
    if not part.process:is_running() then
      error(part.process.name .. " ended", 0)
    end
  end
end

local fine, why = pcall(run)
if fine or why == INTERRUPTED and parts.next_message and not once then
  fine, why = pcall(stop)
end
if why == INTERRUPTED then
  os.exit(130)
elseif not fine then
  local logs = process.tails(20, true)
  io.stderr:write("\ndemo: ", tostring(why), "\n\n", logs ~= "" and logs or process.tails(20), "\n")
  os.exit(1)
end
