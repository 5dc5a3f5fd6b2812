-- What the integration specs share: a migrated database, a topic and the service between them.
local kafka = require "spec.support.kafka"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local road = {}
local Road = {}
Road.__index = Road

local count = 0
local kafka_config

-- Kafka takes a killed member for gone after its session timeout: 45 s would be a long spec.
local function kafka_config_file()
  if not kafka_config then
    kafka_config = process.directory() .. "/kafka.properties"
    local file = assert(io.open(kafka_config, "w"))
    file:write "session.timeout.ms=2000\nheartbeat.interval.ms=300\n"
    file:close()
  end
  return kafka_config
end

-- options: partitions (1), env, wait (as service.start), start (false: not yet),
-- database (migrated; nil: one of its own, dropped at the end)
function road.open(options)
  options = options or {}
  count = count + 1
  local self = setmetatable({}, Road)
  self.broker = kafka.shared()
  self.partitions = options.partitions or 1
  self.topic = self.broker:topic("market-data", self.partitions)
  self.group = ("road-%d"):format(count)
  self.database = options.database or postgres.shared():migrated "road"
  self.options = options
  if options.start ~= false then
    self:start()
  end
  return self
end

function Road:start(env)
  local all = { KAFKA_CONFIG_FILE = kafka_config_file() }
  for name, value in pairs(env or self.options.env or {}) do
    all[name] = value
  end
  self.service = service.start {
    database = self.database, broker = self.broker, topic = self.topic, group = self.group,
    env = all, wait = self.options.wait,
  }
  return self.service
end

function Road:close()
  if self.service then
    self.service:kill()
  end
  if not self.options.database then
    self.database:drop()
  end
end

-- How many offsets of the topic the database has moved past.
function Road:progress()
  return self.database:number(("SELECT coalesce(sum(next_offset), 0) FROM ingest_offsets " ..
    "WHERE group_id = '%s' AND topic = '%s'"):format(self.group, self.topic))
end

-- Sends and waits until the database is past all of it.
function Road:send(messages)
  self.broker:send_all(self.topic, messages)
  self:wait_ingested()
end

function Road:wait_ingested(seconds)
  local last = 0
  for partition = 0, self.partitions - 1 do
    last = last + select(2, self.broker:watermarks(self.topic, partition))
  end
  wait.till(("%d messages are ingested"):format(last), seconds or 30, function()
    self.service.process:must_run()
    local done = self:progress()
    return done == last, done .. " are"
  end)
end

function Road:rejected()
  return self.database:rows [[
    SELECT *, encode(payload, 'escape') AS text FROM rejected_messages
    ORDER BY partition, "offset"]]
end

function Road:missed(query)
  return self.service:get("/api/v1/klines/missed?" .. query)
end

return road
