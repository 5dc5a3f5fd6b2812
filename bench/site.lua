-- Where is measured: a Kafka, a PostgreSQL with the migrated schema, and the service when a measure
-- starts it.
local kafka = require "spec.support.kafka"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local site = {}
local Site = {}
Site.__index = Site

local PARTITIONS = 4
local TICKS = 100 -- of /proc's CPU times, a second

-- What is measured is the work, not when a checkpoint happens to fall.
local database_settings = {
  fsync = "on", shared_buffers = "512MB", max_wal_size = "8GB", checkpoint_timeout = "30min",
  autovacuum = "off",
}

-- options: quick
function site.open(options)
  local self = setmetatable({ quick = options.quick, groups = 0, peak_kib = 0 }, Site)
  self.broker = kafka.shared()
  self.cluster = postgres.new { settings = database_settings }
  self.database = self.cluster:migrated "bench"
  self.topics = {}
  return self
end

local function program(name)
  return "build/bench/bench_" .. name
end

-- Runs a measuring program; the numbers that it prints.
function Site.run(_, name, ...)
  local argv = { program(name) }
  for _, argument in ipairs { ... } do
    argv[#argv + 1] = tostring(argument)
  end
  local code, output = process.run { argv = argv, seconds = 300 }
  assert(code == 0, ("bench_%s ended with %d: %s"):format(name, code, output))
  local numbers = {}
  for number in output:gmatch "[%d.]+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  return unpack(numbers)
end

function Site:new_topic(partitions)
  return self.broker:topic("bench", partitions or PARTITIONS)
end

-- Sends `count` messages, `updates` a candle; `after` as bench_produce has it.
function Site:produce(topic, partitions, count, updates, after)
  self:run("produce", self.broker.bootstrap, topic, partitions, count, updates, after)
end

-- A topic with `count` messages, `updates` a candle; made once.
function Site:topic(count, updates, partitions)
  partitions = partitions or PARTITIONS
  local key = ("%d/%d/%d"):format(count, updates, partitions)
  if not self.topics[key] then
    local name = self:new_topic(partitions)
    self:produce(name, partitions, count, updates)
    self.topics[key] = name
  end
  return self.topics[key]
end

-- The tables as the migrations left them: no candle, and a ledger and offsets that know of none.
function Site:empty_tables()
  local names = self.database:value [[
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE schemaname = 'public'
      AND tablename NOT IN ('schema_migrations', 'rule_generations', 'sequence_tracker')]]
  self.database:exec("TRUNCATE " .. names)
  self.database:exec "CHECKPOINT"
end

-- `how`: database (default: the site's); wait as service.start has it; joins: it is another member
-- of the last one's group.
function Site:start_service(topic, env, how)
  how = how or {}
  if not how.joins then
    self.groups = self.groups + 1
    self.group = "bench-" .. self.groups
  end
  self.service = service.start {
    database = how.database or self.database, broker = self.broker, topic = topic,
    group = self.group, env = env, wait = how.wait,
  }
  return self.service
end

local function read_file(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

-- Seconds of CPU that the service has used.
function Site:cpu_seconds(one)
  local text = read_file(("/proc/%d/stat"):format((one or self.service).process.pid))
  local fields = {}
  for field in text:match("%) (.*)"):gmatch "%S+" do
    fields[#fields + 1] = field
  end
  return (tonumber(fields[12]) + tonumber(fields[13])) / TICKS
end

-- Ends it; the peak of its memory, which is kept unless it is `apart`.
function Site:stop_service(one, apart)
  one = one or self.service
  local text = read_file(("/proc/%d/status"):format(one.process.pid))
  local kib = tonumber(text:match "VmHWM:%s*(%d+)")
  if not apart then self.peak_kib = math.max(self.peak_kib, kib) end
  one:stop()
  return kib
end

-- How many messages are stored; -1 until the worker has found the place of its partitions.
function Site:progress(database)
  return (database or self.database):number(("SELECT coalesce(sum(next_offset), -1) " ..
    "FROM ingest_offsets WHERE group_id = '%s'"):format(self.group))
end

-- The service stores what is in the topic: messages a second, CPU microseconds a message, peak of
-- its memory in MB. Start and joining the group are not counted. `how`:
--   database   default: the site's
--   keeps      the tables as they are; else they are emptied first
--   then_run   is called before the service ends
--   apart      its memory says nothing of the defaults
function Site:ingest(topic, count, env, how)
  how = how or {}
  if not how.keeps then self:empty_tables() end
  -- It may have stored all before it says that it is ready.
  self:start_service(topic, env, { wait = false, database = how.database })
  local first, first_at, first_cpu
  wait.till(count .. " messages are stored", 180, function()
    assert(self.service.process:is_running(), "core-service ended")
    local done = self:progress(how.database)
    if not first and done >= 0 then
      first, first_at, first_cpu = done, wait.now(), self:cpu_seconds()
    end
    return done == count, done .. " are"
  end, 0.005)
  assert(first < count, "it was over before it was seen: more messages are needed")
  local seconds, cpu = wait.now() - first_at, self:cpu_seconds() - first_cpu
  if how.then_run then how.then_run() end
  local kib = self:stop_service(nil, how.apart)
  return (count - first) / seconds, cpu * 1e6 / (count - first), kib / 1024
end

-- A copy of the rules with one line of init.lua changed.
function Site.rules_with(_, from, to)
  local directory = process.directory()
  assert(os.execute(("cp -r lua/. %s"):format(directory)) == 0)
  local text = read_file(directory .. "/init.lua")
  local changed, n = text:gsub(from, to)
  assert(n == 1, "lua/init.lua has no " .. from)
  local file = assert(io.open(directory .. "/init.lua", "w"))
  file:write(changed)
  file:close()
  return directory
end

Site.PARTITIONS = PARTITIONS
return site
