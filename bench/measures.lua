-- What is measured. A measure has
--   name, title, unit
--   target     "ratio" (service to the limit named in `of`: at least `least`),
--              "most" (the service's value: at most `most`), "flat" (no value, and none of
--              `more`, is above that of the first turn by more than the factor `most`),
--              "added" (what the first turn loses beside the second, beyond what the third loses
--              beside the fourth: at most `most`) or "none"
--   turns      in the order they are taken, the service first; or a function of `quick` that
--              returns them: { name =, run = function(site) return value, more end }
--              `more`: further numbers of this turn, { name = value }
local api = require "bench.api"
local growth = require "bench.growth"
local parts = require "bench.parts"
local wait = require "spec.support.wait"

local STREAM, OLD_STREAM = "MarketDataConsumerV2", "MarketDataConsumer"
local BATCH = 10000
local UPDATES = 60
local RATE = 5000

local measures = {}

local function count(site)
  return site.quick and 200000 or 1000000
end

local function ingest(updates, env)
  return function(site)
    local topic = site:topic(count(site), updates)
    local rate, cpu_us = site:ingest(topic, count(site), env and env(site))
    return rate, { cpu_us = cpu_us }
  end
end

local function write(stream, env)
  return function(site)
    site:empty_tables()
    local directory = env and env(site).LUA_DIR or "lua"
    return site:run("write", site.database.url, directory, stream, count(site), BATCH)
  end
end

local function consume(updates, ...)
  local rules = { ... }
  return function(site)
    return site:run("consume", site.broker.bootstrap, site:topic(count(site), updates),
      site.PARTITIONS, count(site), unpack(rules))
  end
end

local function latency(meanwhile)
  return function(site)
    site:empty_tables()
    local topic = site:new_topic()
    site:start_service(topic)
    local seconds = site.quick and 6 or 15
    local stop = meanwhile and meanwhile(site, seconds)
    local p50, p99, p999 = site:run("latency", site.broker.bootstrap, topic, site.PARTITIONS, RATE,
      seconds, site.database.url, UPDATES)
    if stop then stop() end
    site:stop_service()
    return p99, { p50 = p50, p999 = p999 }
  end
end

-- A reload every second while it runs.
local function reloading(site)
  local script = ("while sleep 1; do wget -q -O /dev/null --post-data= " ..
    "'http://127.0.0.1:%d/admin/rules/reload?force=true'; done"):format(site.service.admin_port)
  local process = require("spec.support.process").spawn {
    name = "reloads", argv = { "sh", "-c", script },
  }
  return function()
    process:kill()
    wait.till("reloads are published", 1, function()
      return site.service:text():find "generation"
    end)
  end
end

measures[#measures + 1] = {
  name = "ingest-distinct", title = "each message a new candle", unit = "messages/s",
  target = "ratio", of = "PostgreSQL alone", least = 0.9,
  turns = {
    { name = "service", run = ingest(1) },
    { name = "PostgreSQL alone", run = write(STREAM) },
  },
}

measures[#measures + 1] = {
  name = "ingest-updates", title = "60 updates a candle", unit = "messages/s",
  target = "ratio", of = "consume and count", least = 0.5,
  turns = {
    { name = "service", run = ingest(UPDATES) },
    { name = "consume and count", run = consume(UPDATES) },
    { name = "consume, read and map", run = consume(UPDATES, "lua", STREAM) },
  },
}

measures[#measures + 1] = {
  name = "latency", title = "from produce to visible by SQL, p99 at 5,000 messages/s",
  unit = "ms", target = "most", most = 25,
  turns = {
    { name = "service", run = latency() },
    { name = "a reload every second", run = latency(reloading) },
  },
}

for _, connections in ipairs { 16, 200 } do
  measures[#measures + 1] = {
    name = "api-rows", title = ("50 missed candles, %d clients"):format(connections),
    unit = "requests/s", target = "ratio", of = "pgbench", least = 0.7,
    turns = api.turns("rows", connections),
  }
  measures[#measures + 1] = {
    name = "api-empty", title = ("nothing missed, %d clients"):format(connections),
    unit = "requests/s", target = "ratio", of = "pgbench", least = 0.8,
    turns = api.turns("empty", connections),
  }
end

measures[#measures + 1] = {
  name = "http-static", title = "/healthz, 200 clients", unit = "requests/s",
  target = "ratio", of = "bare evhttp", least = 0.9, turns = api.static_turns(200),
}

measures[#measures + 1] = {
  name = "api-parts", title = "statements over 1,000 parts, 64 clients, p99", unit = "ms",
  target = "none", turns = parts.turns,
}

local function with_original(site)
  site.original = site.original
    or site:rules_with('require "streams.market_data_v2",', 'require "streams.market_data",')
  return { LUA_DIR = site.original }
end

measures[#measures + 1] = {
  name = "sequence-overhead", title = "each message a new candle, with sequences and without",
  unit = "messages/s", target = "added", most = 0.05,
  turns = {
    { name = "service", run = ingest(1) },
    { name = "service without sequences", run = ingest(1, with_original) },
    { name = "PostgreSQL alone", run = write(STREAM) },
    { name = "PostgreSQL alone, without sequences", run = write(OLD_STREAM, with_original) },
  },
}

for _, one in ipairs {
  { "rows", "flat", "a growing table" },
  { "parts", "none", "the same rows in one table and in parts" },
  { "workers", "none", "partitions and workers, 60 updates a candle" },
  { "processes", "none", "processes, 60 updates a candle, sending included" },
} do
  measures[#measures + 1] = {
    name = "growth-" .. one[1], title = one[3], unit = "us a message", target = one[2], most = 1.2,
    turns = growth[one[1]], group = "growth",
  }
end

return measures
