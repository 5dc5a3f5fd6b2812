-- Topics and groups that are not as simple as a log from 0 to its end with one kind of reader.
local ffi = require "ffi"
local rdkafka = require "spec.support.rdkafka"
local road = require "spec.support.road"
local site = require "spec.support.faults.site"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

ffi.cdef [[
int rd_kafka_subscribe(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
int rd_kafka_consumer_close(rd_kafka_t *);
]]
local rd = ffi.load "librdkafka.so.1"

local T = 1704067200000

local function candle(symbol, seq, volume, padding)
  return ('{"s":"%s","t":%d,"o":1,"h":1,"l":1,"c":1,"v":%s,"seq":%d}%s'):format(symbol, T, volume,
    seq, padding or "")
end

-- A member of the group that speaks of assignments as this service does not, as kafkajs does.
local function stranger(bootstrap, group, name)
  local consumer = rdkafka.handle(1, {
    ["bootstrap.servers"] = bootstrap, ["group.id"] = group, ["session.timeout.ms"] = 6000,
    ["partition.assignment.strategy"] = "cooperative-sticky", ["enable.auto.commit"] = "false",
    ["auto.offset.reset"] = "earliest",
  })
  rd.rd_kafka_poll_set_consumer(consumer)
  local list = rd.rd_kafka_topic_partition_list_new(1)
  rd.rd_kafka_topic_partition_list_add(list, name, 0)
  assert(rd.rd_kafka_subscribe(consumer, list) == 0)
  rd.rd_kafka_topic_partition_list_destroy(list)
  local self = {}
  function self.poll(seconds)
    local message = rd.rd_kafka_consumer_poll(consumer, (seconds or 1) * 1000)
    if message ~= nil then rd.rd_kafka_message_destroy(message) end
    return message ~= nil
  end
  function self.leave()
    rd.rd_kafka_consumer_close(consumer)
    rd.rd_kafka_destroy(consumer)
  end
  return self
end

describe("a group with a member of another kind", function()
  it("is not joined, which is said, and is joined when that one has left", function()
    local r = road.open { start = false }
    finally(function() r:close() end)
    r.group = "strange-" .. r.topic -- the stranger is alone in it
    r.broker:send_all(r.topic, { candle("A", 1, 1) })
    local other = stranger(r.broker.bootstrap, r.group, r.topic)
    wait.till("the other one is in the group", 30, function() return other.poll() end)

    r.options.wait = "alive"
    r:start()
    r.service:wait_for_log("the group has members of another protocol", 20)
    r.service:wait_for_log("the original service must be stopped first", 1)
    wait.till("/readyz says it", 20, function()
      local answer = assert(r.service:admin "/readyz")
      return answer.status == 503 and answer.body:find("INCONSISTENT_GROUP_PROTOCOL", 1, true),
        answer.body
    end)
    assert.are.equal(0, r.database:number "SELECT count(*) FROM market_klines")
    assert.are.equal(0, r:progress())

    other.leave()
    r.service:wait_for("/readyz", 60)
    r:wait_ingested()
    assert.are.equal(1, r.database:number "SELECT count(*) FROM market_klines")
  end)
end)

describe("offsets with holes", function()
  it("of a compacted topic are read over", function()
    local broker = require("spec.support.kafka").shared()
    local s = site.open {
      partitions = 2, bad = 0,
      topic = broker:topic("compacted", 2, {
        ["cleanup.policy"] = "compact", ["segment.ms"] = 100, ["min.cleanable.dirty.ratio"] = 0.01,
        ["delete.retention.ms"] = 0, ["max.compaction.lag.ms"] = 500,
      }),
    }
    finally(function() s:close() end)
    s:feed(600)
    local left
    wait.till("messages are compacted away", 60, function()
      s:feed(2) -- a segment is closed by what comes after it
      left = 0
      topic.reader(s.broker.bootstrap, s.topic):each(2, function() left = left + 1 end)
      return left < 300, left .. " are left"
    end, 1)
    s:start "ready"
    local found = s:verdict()
    assert.are.same({}, found.troubles)
    assert.is_true(found.messages < s:ends())
    assert.are.equal(0, s.services[1]:metric "core_service_ingest_swapped_total" or 0)
    assert.is_nil(s.services[1]:text():find("is gone from Kafka", 1, true))
  end)

  it("at the beginning of a partition are no loss for a group that is new", function()
    local s = site.open { bad = 0 }
    finally(function() s:close() end)
    s:feed(600)
    for partition = 0, s.partitions - 1 do
      topic.delete_records(s.broker.client, s.topic, partition, 50 * (partition + 1))
    end
    s:start "ready"
    local found = s:verdict()
    assert.are.same({}, found.troubles)
    assert.are.equal(600 - 300, found.messages)
    assert.is_nil(s.services[1]:text():find("is gone from Kafka", 1, true))
  end)
end)

describe("a batch", function()
  it("ends at INGEST_BATCH_BYTES, however few messages these are", function()
    local r = road.open { start = false, env = { INGEST_BATCH_BYTES = 100000 } }
    finally(function() r:close() end)
    for seq = 1, 200 do
      r.broker:send(r.topic, candle("S" .. seq, seq, 1, (" "):rep(20000)))
    end
    r.broker:flush()
    r:start()
    r:wait_ingested()
    assert.are.equal(200, r.database:number "SELECT count(*) FROM market_klines")
    assert.is_true(r.service:metric "core_service_ingest_batches_total" >= 200 / 6)
  end)
end)

describe("a number that its column cannot hold", function()
  it("costs its message only, which is rejected with 22003", function()
    local r = road.open { start = false }
    finally(function() r:close() end)
    r.database:exec [[
      ALTER TABLE market_klines ALTER volume TYPE numeric(10, 2);
      ALTER TABLE market_klines ALTER sequence TYPE integer]]
    for seq = 1, 50 do
      local volume = seq == 7 and "1e12" or seq == 30 and "123456789.5" or "2.5"
      r.broker:send(r.topic, candle("S" .. seq, seq == 40 and 3000000000 or seq, volume))
    end
    r.broker:flush()
    r:start()
    r:wait_ingested()
    assert.are.equal(47, r.database:number "SELECT count(*) FROM market_klines")
    local rejected = r:rejected()
    for i, symbol in ipairs { "S7", "S30", "S40" } do
      local row = rejected[i]
      assert.are.same({ symbol, "database", "22003" }, { row.symbol, row.stage, row.sqlstate })
    end
    assert.are.equal(3, #rejected)
  end)
end)
