-- Where a fault happens: a topic, a database, one or more services between them, the load and the
-- checker. Every fault gets a new one.
local checker = require "spec.support.checker"
local load = require "spec.support.load"
local process = require "spec.support.process"
local kafka = require "spec.support.kafka"
local moves = require "spec.support.moves"
local postgres = require "spec.support.postgres"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local site = {}
local Site = {}
Site.__index = Site

local count = 0

-- A killed member of the group is missed after a second.
local function kafka_settings(more)
  local path = process.directory() .. "/kafka.conf"
  local file = assert(io.open(path, "w"))
  file:write("session.timeout.ms=1500\nheartbeat.interval.ms=300\n", more or "")
  file:close()
  return path
end

-- options:
--   partitions (3), batch (300), env           of the topic and the service
--   bad, symbols, distinct                     of the load
--   database, broker                           not the shared ones
--   topic
--   bootstrap, through(url)                    where the service looks for them, when elsewhere
--   between                                    a proxy, stopped at the end
--   disk                                       of the database (small_disk); its cluster and it are
--                                              ended at the end
--   original, refuses, largest                 as the checker's
--   kafka                                      further lines of KAFKA_CONFIG_FILE
function site.open(options)
  options = options or {}
  count = count + 1
  local self = setmetatable({
    options = options, services = {}, started = {}, between = options.between,
    disk = options.disk, cleanups = {},
  }, Site)
  self.broker = options.broker or kafka.shared()
  self.partitions = options.partitions or 3
  self.topic = options.topic or self.broker:topic("faults", self.partitions)
  self.group = ("faults-%d"):format(count)
  self.database = options.database or postgres.shared():migrated "faults"
  self.load = load.new {
    partitions = self.partitions, symbols = options.symbols, bad = options.bad,
    distinct = options.distinct,
  }
  self.checker = checker.new {
    database = self.database, broker = self.broker, topic = self.topic, group = self.group,
    partitions = self.partitions, original = options.original, refuses = options.refuses,
    largest = options.largest,
  }
  self.env = {
    MARKET_CONSUMER_BATCH_SIZE = options.batch or 300,
    KAFKA_CONFIG_FILE = kafka_settings(options.kafka),
    DB_CONNECT_TIMEOUT_MS = 2000,
  }
  for name, value in pairs(options.env or {}) do
    self.env[name] = value
  end
  return self
end

-- Starts service number `n` (1), or starts it again. Its process is "N.TIME" to the database.
function Site:start(how, n)
  n = n or 1
  local one = self.services[n]
  local through = self.options.through
  self.started[n] = (self.started[n] or 0) + 1
  local url = moves.named(through and through(self.database.url) or self.database.url,
    n .. "." .. self.started[n])
  if one then
    one.options.wait = how
    one.env.DATABASE_URL = url
    one:start()
  else
    one = service.start {
      database = { url = url },
      broker = { bootstrap = self.options.bootstrap or self.broker.bootstrap },
      topic = self.topic, group = self.group, env = self.env, wait = how,
    }
    self.services[n] = one
  end
  return one
end

function Site:feed(messages)
  if type(messages) == "number" then
    messages = self.load:many(messages)
  end
  for _, m in ipairs(messages) do
    self.broker:send(self.topic, m.value, m.key, m.partition)
  end
  self.broker:flush()
end

-- How many offsets of the topic the database has moved past.
function Site:progress()
  return self.database:number(("SELECT coalesce(sum(next_offset), 0) FROM ingest_offsets " ..
    "WHERE group_id = '%s' AND topic = '%s'"):format(self.group, self.topic))
end

-- How many there are; a broker that has just come back cannot tell at once.
function Site:ends()
  return wait.till("the broker tells the ends of " .. self.topic, 30, function()
    local sum = 0
    for partition = 0, self.partitions - 1 do
      sum = sum + select(2, self.broker:watermarks(self.topic, partition))
    end
    return sum
  end)
end

function Site:wait_progress(goal, seconds)
  wait.till(("offset %d of %s"):format(goal, self.topic), seconds or 60, function()
    local done = self:progress()
    return done >= goal, "it is " .. done
  end, 0.005)
end

function Site:is_alive()
  for _, one in pairs(self.services) do
    if one.process:is_running() then
      return true
    end
  end
end

-- Waits until the tables are past all of the topic. Its end may still move: what marks the end of a
-- transaction comes a little later.
function Site:wait_ingested(seconds)
  wait.till("all messages are ingested", seconds or 60, function()
    assert(self:is_alive(), "core-service ended")
    local goal, done = self:ends(), self:progress()
    return done == goal, ("%d of %d are"):format(done, goal)
  end)
end

-- What the checker finds once all is ingested.
function Site:verdict(seconds)
  self:wait_ingested(seconds)
  return self.checker:compare()
end

-- Something to be undone at the end.
function Site:on_close(undo)
  table.insert(self.cleanups, 1, undo)
end

function Site:close()
  for _, one in pairs(self.services) do
    one:kill()
  end
  if self.between then
    self.between:stop()
  end
  for _, undo in ipairs(self.cleanups) do
    undo()
  end
  if not self.options.database then
    self.database:drop()
  end
  if self.disk then
    self.database.cluster.process:kill()
    self.disk:close()
  end
end

return site
