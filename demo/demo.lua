-- scripts/demo starts this; the harness of the specs owns the processes.
local figures = require "demo.figures"
local frontend = require "demo.frontend"
local interrupt = require "spec.support.interrupt"
local ports = require "spec.support.ports"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local rdkafka = require "spec.support.rdkafka"
local screen = require "demo.screen"
local service = require "spec.support.service"
local steps = require "demo.steps"
local stdlib = require "posix.stdlib"
local view = require "demo.view"
local wait = require "spec.support.wait"

local TOPIC, GROUP, PARTITIONS = "market_data", "core-service-market-consumer", 4
local LOST_SECONDS, REPEAT_SECONDS = 2, 10
local RULES = "build/demo/lua" -- a copy, to be edited

local once = arg[1] == "--once"
local on_screen = screen.is_terminal() and not once
local INTERRUPTED = {}
local parts = {} -- what runs
local gap = {} -- the last one: symbol, from, to, count, candles, refused; losing; trouble
local asked = frontend.path("BTCUSDT", 0, 100) -- for it

local function say(...)
  print(string.format(...))
  io.stdout:flush()
end

local function environment(name)
  local value = os.getenv(name)
  return value ~= "" and value or nil
end

local function copied_environment(more)
  local env = {}
  for name, value in pairs(stdlib.getenv()) do
    env[name] = value
  end
  for name, value in pairs(more) do
    env[name] = value
  end
  return env
end

local function build(tell)
  local running = process.spawn {
    name = "build", argv = { "scripts/build", "release", "core-service", "demo-broker" },
    env = copied_environment { NINJA_STATUS = "%f of %t " },
  }
  local status = wait.till("it is built", 3600, function()
    local done, of = running:output():match ".*\n(%d+) of (%d+) "
    tell(done and ("%s of %s files"):format(done, of) or "")
    return running:status()
  end)
  assert(status.code == 0, "scripts/build failed")
  assert(os.execute(("rm -rf %s && cp -r lua %s"):format(RULES, RULES)) == 0)
end

local function start_database(tell)
  local url = environment "DATABASE_URL"
  if url then
    tell "DATABASE_URL's"
    return postgres.connect(url)
  end
  parts.cluster = postgres.new()
  tell("private, port " .. parts.cluster.port)
  return postgres.connect(parts.cluster:url())
end

local function migrate(tell)
  local code, output = process.run {
    argv = { "scripts/migrate" }, seconds = 120,
    env = { PATH = os.getenv "PATH", DATABASE_URL = parts.database.url },
  }
  assert(code == 0, "scripts/migrate:\n" .. output)
  local _, applied = output:gsub("applied ", "")
  tell(("%d applied"):format(applied))
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

local function start_broker(tell)
  local given = environment "KAFKA_BROKERS"
  local argv = feed_arguments(parts.database)
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
  tell(("%s, 20 symbols, 2,000 messages/s"):format(given or "embedded, " .. bootstrap))
  return { process = feed, bootstrap = bootstrap }
end

local function start_service(tell)
  local server = service.start {
    database = parts.database, broker = parts.broker, topic = TOPIC, group = GROUP,
    port = ports.prefer(8000), admin_port = ports.prefer(8001),
    -- the feed counts the candles of each symbol by themselves
    env = { MARKET_DATA_NUMBERING = "dense", LUA_DIR = RULES },
  }
  tell(("http://127.0.0.1:%d"):format(server.port))
  return server
end

local function start()
  say "core-service demo: everything runs on this machine, and is gone when you press Ctrl-C\n"
  steps.show_on_terminal(screen.is_terminal())
  steps.run("core-service", build)
  parts.database = steps.run("PostgreSQL", start_database)
  steps.run("migrations", migrate)
  parts.broker = steps.run("Kafka with a market", start_broker)
  parts.server = steps.run("service", start_service)
  parts.figures = figures.new(parts.database, parts.server)
  local next_message = rdkafka.client(parts.broker.bootstrap):follow(TOPIC)
  function parts.next_message(timeout_ms)
    local value, key = next_message(timeout_ms)
    if value then
      parts.figures:see(key, value)
    end
    return value, key
  end
end

local function links()
  return {
    port = parts.server.port, path = asked, rules = RULES,
    more = {
      { "admin", ("http://127.0.0.1:%d/metrics   /readyz   /admin/rules"):format(
        parts.server.admin_port) },
      { "database", ("psql '%s'"):format(parts.database.url) },
      { "logs", parts.server.log },
    },
  }
end

local read_at, told_at, told_reload = 0, 0, nil

-- One line: every five seconds, and for each reload of the rules.
local function tell_line(now)
  local _, reload = view.rules_texts(parts.figures, 0) -- how long ago does not count
  if now - told_at >= 5 or reload ~= told_reload then
    say("%s", view.line(parts.figures))
    told_at, told_reload = now, reload
  end
end

-- Once a second, what has changed.
local function show()
  local now = wait.now()
  if not parts.next_message or once or now - read_at < 1 then
    return
  end
  read_at = now
  parts.figures:refresh()
  if on_screen then
    screen.draw(view.lines(parts.figures, gap, links(), screen.size()))
  else
    tell_line(now)
  end
end

local function lose_and_recover(symbol)
  gap = { symbol = symbol, losing = true, count = 0, from = 0 }
  local from, first, lost = frontend.lose(parts.next_message, symbol, LOST_SECONDS,
    function(last, count)
      gap.from, gap.count = last, count
    end)
  parts.figures:made_gap(symbol)
  gap = { symbol = symbol, count = #lost, from = from, to = first - 1 }
  asked = frontend.path(symbol, gap.from, gap.to)
  local result = frontend.prove(parts.server.port, parts.database, symbol, gap.from, gap.to, lost)
  parts.figures:healed_gap(symbol)
  gap.candles, gap.refused = #result.candles, result.refused
  return result
end

local function prove_once()
  local result = lose_and_recover "BTCUSDT"
  local last = result.candles[#result.candles]
  assert(result.refused == 0, "a rule refused messages of the market")
  say("\nA frontend lost %d messages of BTCUSDT: sequences %d to %d.", gap.count, gap.from + 1,
    gap.to)
  say("It asked GET %s&wait=2000", asked)
  say("and got %d candles in %d page(s), with \"complete\": true.", gap.candles, result.pages)
  say("The last: seq %d, open time %s, close %s.", last.seq,
    os.date("!%Y-%m-%dT%H:%M:%SZ", last.timestamp / 1000), last.kline.c)
  say "Proved: these are the table's rows of that range, and no candle that was finished"
  say "meanwhile is missing."
end

-- The frontend goes on reading.
local function read_for(seconds)
  local till = wait.now() + seconds
  while wait.now() < till do
    parts.next_message(50)
    wait.on_pause()
  end
end

-- Whoever edits the rules may make a gap that cannot be healed: that is shown, and it goes on.
local function make_gap(symbol)
  local fine, why = pcall(lose_and_recover, symbol)
  if not fine and (why == INTERRUPTED or parts.ended) then
    error(why, 0)
  elseif not fine then
    gap.losing, gap.to = false, gap.to or gap.from
    gap.trouble = tostring(why):gsub("^.-%.lua:%d+: ", ""):gsub("%s+", " ")
  end
  if not on_screen then
    say("%s; %s", view.gap_texts(gap))
  end
end

-- Until Ctrl-C.
local function watch()
  if on_screen then
    screen.open()
  else
    say ""
    for _, link in ipairs(links().more) do
      say("  %-9s %s", link[1], link[2])
    end
    say("  %-9s in %s, to be edited: what is saved is live within a second\n", "rules", RULES)
  end
  local turn = 0
  while true do
    make_gap(figures.known_first[turn % #figures.known_first + 1])
    turn = turn + 1
    read_for(REPEAT_SECONDS)
  end
end

-- The service first, as it tells Kafka how far it came.
local function stop()
  say "\nstopping"
  wait.on_pause = function() end
  parts.server:stop()
  parts.broker.process:stop(10)
  if parts.cluster then
    parts.cluster:stop()
  end
end

local looked_at = 0

local function look_around()
  local now = wait.now()
  if now - looked_at < 0.05 then
    return
  end
  looked_at = now
  if interrupt.seen() then
    error(INTERRUPTED, 0)
  end
  for _, part in ipairs { parts.broker or false, parts.server or false } do
    if part and not part.process:is_running() then
      parts.ended = part.process.name
      error(parts.ended .. " ended", 0)
    end
  end
  show()
end

interrupt.watch()
wait.on_pause = look_around

local fine, why = pcall(function()
  start()
  if once then
    prove_once()
  else
    watch()
  end
end)
screen.close()
if fine or why == INTERRUPTED and parts.next_message and not once then
  fine, why = pcall(stop)
  if fine and parts.figures then
    say("gaps made: %d, healed: %d; messages seen: %d. All that was started has ended.",
      parts.figures.gaps_made, parts.figures.gaps_healed, parts.figures:count_seen())
  end
end
process.finish()
if why == INTERRUPTED then
  os.exit(130)
elseif not fine then
  local logs = process.tails(20, true)
  io.stderr:write("\ndemo: ", tostring(why), "\n\n", logs ~= "" and logs or process.tails(20), "\n")
  os.exit(1)
end
