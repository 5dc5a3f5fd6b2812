-- The broker of the specs: KAFKA_BROKERS when given; else a real Kafka, one node in KRaft mode,
-- from the jars in build/kafka (scripts/setup test); else, but never on CI, a mock cluster.
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local rdkafka = require "spec.support.rdkafka"
local socket = require "socket"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local kafka = {}
local jars = "build/kafka"
local not_ours = "KAFKA_BROKERS was given: that broker is neither started nor stopped by the specs"

local Broker = {}
Broker.__index = function(self, name)
  local client = rawget(self, "client")
  return Broker[name] or client and client[name] and function(_, ...)
    return client[name](client, ...)
  end
end

local config = [[
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%(controller)d
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:%(port)d,PROXIED://127.0.0.1:%(behind)d,\
  CONTROLLER://127.0.0.1:%(controller)d
advertised.listeners=PLAINTEXT://127.0.0.1:%(port)d,PROXIED://127.0.0.1:%(proxied)d
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=%(directory)s/logs
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=10485760
log.retention.check.interval.ms=1000
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
log.cleaner.backoff.ms=300
log.initial.task.delay.ms=500
]]

local function java(...)
  local argv = { "java", "-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
    "-Dlog4j2.level=WARN", "-cp", jars .. "/*" }
  for _, argument in ipairs { ... } do
    argv[#argv + 1] = argument
  end
  return argv
end

local function exists(path)
  local file = io.open(path)
  if file then
    file:close()
  end
  return file ~= nil
end

local function real()
  local self = setmetatable({ port = ports.free(), directory = process.directory() }, Broker)
  -- Who asks at `behind` is told to talk to `proxied`, where a proxy of a spec may listen.
  self.behind, self.proxied = ports.free(), ports.free()
  self.bootstrap = "127.0.0.1:" .. self.port
  self.log = process.log_path "kafka"
  self.properties = self.directory .. "/server.properties"
  local values = {
    port = self.port, controller = ports.free(), behind = self.behind, proxied = self.proxied,
    directory = self.directory,
  }
  local file = assert(io.open(self.properties, "w"))
  file:write((config:gsub("%%%((%w+)%)[ds]", values)))
  file:close()
  local code, output = process.run {
    argv = java("kafka.tools.StorageTool", "format", "-t", "c3BlY3NwZWNzcGVjc3BlYw", "-c",
      self.properties),
    seconds = 300,
  }
  assert(code == 0, output)
  self:start()
  self.client = rdkafka.client(self.bootstrap)
  return self
end

function Broker:start()
  if self.mock then
    self.mock:set_up(true)
    return
  end
  assert(self.properties, not_ours)
  self.process = process.spawn {
    name = "kafka", argv = java("kafka.Kafka", self.properties), log = self.log,
  }
  wait.till("Kafka listens", 300, function()
    self.process:must_run()
    local connection = socket.connect("127.0.0.1", self.port)
    if connection then
      connection:close()
    end
    return connection
  end)
end

function Broker:own_process()
  return assert(self.process, not_ours)
end

-- SIGKILL, as a machine that loses power; start() brings it back with what it had.
function Broker:kill()
  if self.mock then
    self.mock:set_up(false)
  else
    self:own_process():kill()
  end
end

function Broker:stop()
  if self.mock then
    self.mock:set_up(false)
  else
    self:own_process():stop(30)
  end
end

function Broker:create_topic(name, partitions, settings)
  if self.mock then
    self.mock:create_topic(name, partitions)
  else
    self.client:create_topic(name, partitions, settings)
    wait.till("topic " .. name .. " has leaders", 60, function()
      for partition = 0, (partitions or 1) - 1 do
        self.client:watermarks(name, partition, 1000)
      end
      return true
    end)
  end
end

local topic_count = 0

-- A new topic with a name of its own.
function Broker:topic(prefix, partitions, settings)
  topic_count = topic_count + 1
  local name = ("%s-%d-%d"):format(prefix or "spec", unistd.getpid(), topic_count)
  self:create_topic(name, partitions, settings)
  return name
end

local function start()
  local given = os.getenv "KAFKA_BROKERS"
  if given and given ~= "" then
    return setmetatable({ bootstrap = given, client = rdkafka.client(given) }, Broker)
  end
  if exists(jars .. "/pom.xml") then
    return real()
  end
  assert((os.getenv "CI" or "") == "", "no Kafka in " .. jars .. ": run scripts/setup test")
  print("# no Kafka in " .. jars .. ": a mock cluster stands in (scripts/setup test fetches it)")
  local mock = rdkafka.mock()
  return setmetatable({ mock = mock, bootstrap = mock.bootstrap,
    client = rdkafka.client(mock.bootstrap) }, Broker)
end

local shared

-- The broker that all spec files of a run use, started by the first that asks.
function kafka.shared()
  shared = shared or start()
  return shared
end

return kafka
