-- scripts/demo starts this; the harness of the specs owns the processes.
local frontend = require "demo.frontend"
local ports = require "spec.support.ports"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local rdkafka = require "spec.support.rdkafka"
local service = require "spec.support.service"
local signal = require "posix.signal"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local TOPIC, GROUP, PARTITIONS = "market_data", "core-service-market-consumer", 4
local SYMBOL = "BTCUSDT"
local LOST_SECONDS = 2
local REPEAT_SECONDS = 15

local once = arg[1] == "--once"
local interactive = unistd.isatty(1) == 1
local stopping = false
local started = false

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
    assert(feed:is_running(), "it ended")
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

local function recover_a_gap(database, server, next_message)
  local from, first, lost = frontend.lose(next_message, SYMBOL, LOST_SECONDS)
  local result = frontend.prove(server.port, database, SYMBOL, from, first - 1, lost)
  return {
    from = from, to = first - 1, lost = #lost, candles = #result.candles,
    pages = result.pages, last = result.candles[#result.candles],
  }
end

local function tell(r)
  say("A frontend lost %d messages of %s: sequences %d to %d.", r.lost, SYMBOL, r.from + 1, r.to)
  say("It asked GET /api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d", SYMBOL, r.from, r.to)
  say("and got %d candles in %d page(s).", r.candles, r.pages)
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

-- Until Ctrl-C: a status line, and a gap every now and then.
local function watch(parts, recovery)
  local status_seconds = interactive and 1 or 5
  local done, at = totals(parts.database), wait.now()
  local recovered_at = at
  say "Ctrl-C ends everything."
  while not stopping do
    wait.pause(status_seconds)
    for _, p in ipairs { parts.broker.process, parts.server.process } do
      assert(p:is_running(), p.name .. " ended")
    end
    if not stopping and wait.now() - recovered_at > REPEAT_SECONDS then
      recovery = recover_a_gap(parts.database, parts.server, parts.next_message)
      recovered_at = wait.now()
    end
    local now_done, rows = totals(parts.database)
    local now = wait.now()
    show_status(("%6.0f messages/s   %d rows   last recovery: %d candles of %d lost messages, " ..
      "%.0f s ago"):format((now_done - done) / (now - at), rows, recovery.candles, recovery.lost,
      now - recovered_at))
    done, at = now_done, now
  end
  print()
end

local function run()
  local parts = {}
  parts.database = start_database()
  parts.broker = start_broker(parts.database)
  say "starting core-service"
  parts.server = service.start {
    database = parts.database, broker = parts.broker, topic = TOPIC, group = GROUP,
    port = ports.prefer(8000), admin_port = ports.prefer(8001),
  }
  describe(parts.database, parts.broker, parts.server)
  parts.next_message = rdkafka.client(parts.broker.bootstrap):follow(TOPIC)
  started = true
  local recovery = recover_a_gap(parts.database, parts.server, parts.next_message)
  tell(recovery)
  if not once then
    watch(parts, recovery)
  end
  say "stopping"
  parts.broker.process:stop(10)
  parts.server:stop()
end

local function on_signal()
  if not started or once then
    os.exit(130) -- the watchdog ends what runs
  end
  stopping = true
end
signal.signal(signal.SIGINT, on_signal)
signal.signal(signal.SIGTERM, on_signal)
signal.signal(signal.SIGHUP, on_signal)

local fine, why = xpcall(run, function(message)
  return debug.traceback(message, 2)
end)
if not fine then
  io.stderr:write("\ndemo: ", tostring(why), "\n\n", process.tails(20), "\n")
  os.exit(1)
end
