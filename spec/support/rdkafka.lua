-- librdkafka, as little of it as specs need: topics, messages in, offsets, the mock cluster. Only
-- events are used, no callbacks, so that its threads never enter Lua.
local ffi = require "ffi"

ffi.cdef [[
typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_topic_s rd_kafka_topic_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_op_s rd_kafka_event_t;
typedef struct rd_kafka_NewTopic_s rd_kafka_NewTopic_t;
typedef struct rd_kafka_DeleteTopic_s rd_kafka_DeleteTopic_t;
typedef struct rd_kafka_topic_result_s rd_kafka_topic_result_t;
typedef struct rd_kafka_AdminOptions_s rd_kafka_AdminOptions_t;
typedef struct rd_kafka_mock_cluster_s rd_kafka_mock_cluster_t;
typedef struct {
  int err; rd_kafka_topic_t *rkt; int32_t partition; void *payload; size_t len; void *key;
  size_t key_len; int64_t offset; void *_private;
} rd_kafka_message_t;
typedef struct {
  char *topic; int32_t partition; int64_t offset; void *metadata; size_t metadata_size;
  void *opaque; int err; void *_private;
} rd_kafka_topic_partition_t;
typedef struct { int cnt; int size; rd_kafka_topic_partition_t *elems; }
  rd_kafka_topic_partition_list_t;
rd_kafka_conf_t *rd_kafka_conf_new(void);
int rd_kafka_conf_set(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
void rd_kafka_conf_set_events(rd_kafka_conf_t *, int);
rd_kafka_t *rd_kafka_new(int type, rd_kafka_conf_t *, char *, size_t);
void rd_kafka_destroy(rd_kafka_t *);
const char *rd_kafka_err2str(int);
int rd_kafka_last_error(void);
rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *, const char *, void *);
void rd_kafka_topic_destroy(rd_kafka_topic_t *);
int rd_kafka_produce(rd_kafka_topic_t *, int32_t partition, int msgflags, const void *payload,
                     size_t len, const void *key, size_t keylen, void *msg_opaque);
int rd_kafka_outq_len(rd_kafka_t *);
rd_kafka_queue_t *rd_kafka_queue_get_main(rd_kafka_t *);
rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *);
void rd_kafka_queue_destroy(rd_kafka_queue_t *);
rd_kafka_event_t *rd_kafka_queue_poll(rd_kafka_queue_t *, int timeout_ms);
void rd_kafka_event_destroy(rd_kafka_event_t *);
int rd_kafka_event_type(const rd_kafka_event_t *);
int rd_kafka_event_error(rd_kafka_event_t *);
const char *rd_kafka_event_error_string(rd_kafka_event_t *);
const rd_kafka_message_t *rd_kafka_event_message_next(rd_kafka_event_t *);
rd_kafka_NewTopic_t *rd_kafka_NewTopic_new(const char *, int, int, char *, size_t);
void rd_kafka_NewTopic_destroy(rd_kafka_NewTopic_t *);
int rd_kafka_NewTopic_set_config(rd_kafka_NewTopic_t *, const char *, const char *);
void rd_kafka_CreateTopics(rd_kafka_t *, rd_kafka_NewTopic_t **, size_t,
                           const rd_kafka_AdminOptions_t *, rd_kafka_queue_t *);
rd_kafka_DeleteTopic_t *rd_kafka_DeleteTopic_new(const char *);
void rd_kafka_DeleteTopic_destroy(rd_kafka_DeleteTopic_t *);
void rd_kafka_DeleteTopics(rd_kafka_t *, rd_kafka_DeleteTopic_t **, size_t,
                           const rd_kafka_AdminOptions_t *, rd_kafka_queue_t *);
const rd_kafka_event_t *rd_kafka_event_CreateTopics_result(rd_kafka_event_t *);
const rd_kafka_event_t *rd_kafka_event_DeleteTopics_result(rd_kafka_event_t *);
const rd_kafka_topic_result_t **rd_kafka_CreateTopics_result_topics(const rd_kafka_event_t *,
                                                                    size_t *);
const rd_kafka_topic_result_t **rd_kafka_DeleteTopics_result_topics(const rd_kafka_event_t *,
                                                                    size_t *);
int rd_kafka_topic_result_error(const rd_kafka_topic_result_t *);
const char *rd_kafka_topic_result_error_string(const rd_kafka_topic_result_t *);
rd_kafka_topic_partition_list_t *rd_kafka_topic_partition_list_new(int);
void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *);
rd_kafka_topic_partition_t *rd_kafka_topic_partition_list_add(rd_kafka_topic_partition_list_t *,
                                                              const char *, int32_t);
int rd_kafka_committed(rd_kafka_t *, rd_kafka_topic_partition_list_t *, int timeout_ms);
int rd_kafka_commit(rd_kafka_t *, const rd_kafka_topic_partition_list_t *, int async);
int rd_kafka_query_watermark_offsets(rd_kafka_t *, const char *, int32_t, int64_t *, int64_t *,
                                     int timeout_ms);
typedef struct { int32_t id; int err; int32_t leader; int replica_cnt; int32_t *replicas;
  int isr_cnt; int32_t *isrs; } rd_kafka_metadata_partition_t;
typedef struct { char *topic; int partition_cnt; rd_kafka_metadata_partition_t *partitions;
  int err; } rd_kafka_metadata_topic_t;
typedef struct { int broker_cnt; void *brokers; int topic_cnt; rd_kafka_metadata_topic_t *topics;
  int32_t orig_broker_id; char *orig_broker_name; } rd_kafka_metadata_t;
int rd_kafka_metadata(rd_kafka_t *, int all_topics, rd_kafka_topic_t *only,
                      const rd_kafka_metadata_t **, int timeout_ms);
void rd_kafka_metadata_destroy(const rd_kafka_metadata_t *);
int rd_kafka_assign(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
int rd_kafka_poll_set_consumer(rd_kafka_t *);
rd_kafka_message_t *rd_kafka_consumer_poll(rd_kafka_t *, int timeout_ms);
void rd_kafka_message_destroy(rd_kafka_message_t *);
rd_kafka_mock_cluster_t *rd_kafka_mock_cluster_new(rd_kafka_t *, int);
void rd_kafka_mock_cluster_destroy(rd_kafka_mock_cluster_t *);
const char *rd_kafka_mock_cluster_bootstraps(const rd_kafka_mock_cluster_t *);
int rd_kafka_mock_topic_create(rd_kafka_mock_cluster_t *, const char *, int, int);
int rd_kafka_mock_broker_set_down(rd_kafka_mock_cluster_t *, int32_t);
int rd_kafka_mock_broker_set_up(rd_kafka_mock_cluster_t *, int32_t);
void *dlopen(const char *, int);
]]

-- Its threads run until the process ends, so it must stay when Lua unloads what it has loaded.
local RTLD_NOW, RTLD_NODELETE = 0x2, 0x1000
ffi.C.dlopen("librdkafka.so.1", RTLD_NOW + RTLD_NODELETE)
local rd = ffi.load "librdkafka.so.1"
local PRODUCER, CONSUMER = 0, 1
local F_COPY, EVENT_DR, EVENT_ERROR = 2, 1, 8
local QUEUE_FULL = -184
local TIMEOUT_MS = 15000

local rdkafka = {}

local function check(code, what)
  if code ~= 0 then
    error(("%s: %s"):format(what, ffi.string(rd.rd_kafka_err2str(code))), 3)
  end
end

local function handle(kind, settings, events)
  local text = ffi.new "char[256]"
  local conf = rd.rd_kafka_conf_new()
  settings.log_level = 0 -- a broker that a spec killed is no news
  for name, value in pairs(settings) do
    if rd.rd_kafka_conf_set(conf, name, tostring(value), text, 256) ~= 0 then
      error(ffi.string(text), 3)
    end
  end
  rd.rd_kafka_conf_set_events(conf, events or 0)
  local made = rd.rd_kafka_new(kind, conf, text, 256)
  if made == nil then
    error(ffi.string(text), 3)
  end
  return made
end

-- kind: 0 producer, 1 consumer.
rdkafka.handle = handle

local Client = {}
Client.__index = Client

-- A producer and administrator for the brokers in `bootstrap`.
function rdkafka.client(bootstrap)
  local kafka = handle(PRODUCER, {
    ["bootstrap.servers"] = bootstrap, ["linger.ms"] = 2, ["max.in.flight"] = 1,
    ["queue.buffering.max.messages"] = 1000000, ["message.max.bytes"] = 10485760,
    ["message.timeout.ms"] = 60000, ["topic.metadata.refresh.interval.ms"] = 5000,
    ["reconnect.backoff.max.ms"] = 500,
  }, EVENT_DR + EVENT_ERROR)
  return setmetatable({
    bootstrap = bootstrap, kafka = kafka, queue = rd.rd_kafka_queue_get_main(kafka),
    topics = {}, watchers = {}, failures = {},
  }, Client)
end

local function topic_result(self, event, results_of, event_result, what)
  if event == nil then
    error(what .. ": no answer in " .. TIMEOUT_MS .. " ms", 3)
  end
  local count = ffi.new "size_t[1]"
  check(rd.rd_kafka_event_error(event), what)
  local results = results_of(event_result(event), count)
  local code = rd.rd_kafka_topic_result_error(results[0])
  rd.rd_kafka_event_destroy(event)
  check(code, what)
  return self
end

-- `config`: { ["retention.ms"] = 1000, ... }
function Client:create_topic(name, partitions, config)
  local text = ffi.new "char[256]"
  local topic = rd.rd_kafka_NewTopic_new(name, partitions or 1, 1, text, 256)
  assert(topic ~= nil, ffi.string(text))
  for key, value in pairs(config or {}) do
    rd.rd_kafka_NewTopic_set_config(topic, key, tostring(value))
  end
  local queue = rd.rd_kafka_queue_new(self.kafka)
  rd.rd_kafka_CreateTopics(self.kafka, ffi.new("rd_kafka_NewTopic_t *[1]", { topic }), 1, nil,
    queue)
  local event = rd.rd_kafka_queue_poll(queue, TIMEOUT_MS)
  rd.rd_kafka_NewTopic_destroy(topic)
  rd.rd_kafka_queue_destroy(queue)
  return topic_result(self, event, rd.rd_kafka_CreateTopics_result_topics,
    rd.rd_kafka_event_CreateTopics_result, "create topic " .. name)
end

function Client:delete_topic(name)
  local topic = rd.rd_kafka_DeleteTopic_new(name)
  local queue = rd.rd_kafka_queue_new(self.kafka)
  rd.rd_kafka_DeleteTopics(self.kafka, ffi.new("rd_kafka_DeleteTopic_t *[1]", { topic }), 1, nil,
    queue)
  local event = rd.rd_kafka_queue_poll(queue, TIMEOUT_MS)
  rd.rd_kafka_DeleteTopic_destroy(topic)
  rd.rd_kafka_queue_destroy(queue)
  return topic_result(self, event, rd.rd_kafka_DeleteTopics_result_topics,
    rd.rd_kafka_event_DeleteTopics_result, "delete topic " .. name)
end

local function topic_handle(self, name)
  self.topics[name] = self.topics[name] or rd.rd_kafka_topic_new(self.kafka, name, nil)
  return self.topics[name]
end

-- 0 when there is no such topic.
function Client:partition_count(name)
  local answer = ffi.new "const rd_kafka_metadata_t *[1]"
  check(rd.rd_kafka_metadata(self.kafka, 0, topic_handle(self, name), answer, TIMEOUT_MS),
    "metadata of " .. name)
  local count = answer[0].topic_cnt > 0 and answer[0].topics[0].partition_cnt or 0
  rd.rd_kafka_metadata_destroy(answer[0])
  return count
end

function Client:serve(timeout_ms)
  local event = rd.rd_kafka_queue_poll(self.queue, timeout_ms)
  if event == nil then
    return false
  end
  if rd.rd_kafka_event_type(event) == EVENT_DR then
    local message = rd.rd_kafka_event_message_next(event)
    while message ~= nil do
      if message.err ~= 0 then
        self.failures[#self.failures + 1] = ffi.string(rd.rd_kafka_err2str(message.err))
      end
      message = rd.rd_kafka_event_message_next(event)
    end
  end
  rd.rd_kafka_event_destroy(event)
  return true
end

-- Queues one message: value nil is a tombstone, key nil none, partition nil 0.
function Client:send(topic, value, key, partition)
  local rkt = topic_handle(self, topic)
  while rd.rd_kafka_produce(rkt, partition or 0, F_COPY, value, value and #value or 0, key,
    key and #key or 0, nil) ~= 0 do
    local code = rd.rd_kafka_last_error()
    if code ~= QUEUE_FULL then
      check(code, "send to " .. topic)
    end
    self:serve(100)
  end
end

-- Returns when all that was sent is in the log; an error when some of it is not.
function Client:flush()
  while rd.rd_kafka_outq_len(self.kafka) > 0 do
    self:serve(100)
  end
  local failures = self.failures
  self.failures = {}
  if #failures > 0 then
    error(("%d messages were not delivered: %s"):format(#failures, failures[1]), 2)
  end
end

-- messages: values, or { value =, key =, partition = }.
function Client:send_all(topic, messages)
  for _, message in ipairs(messages) do
    if type(message) == "string" then
      self:send(topic, message)
    else
      self:send(topic, message.value, message.key, message.partition)
    end
  end
  self:flush()
end

-- First offset and the one after the last. An error while the broker is away.
function Client:watermarks(topic, partition, timeout_ms)
  local low, high = ffi.new "int64_t[1]", ffi.new "int64_t[1]"
  check(rd.rd_kafka_query_watermark_offsets(self.kafka, topic, partition or 0, low, high,
    timeout_ms or TIMEOUT_MS), "watermarks of " .. topic)
  return tonumber(low[0]), tonumber(high[0])
end

local function watcher(self, group)
  self.watchers[group] = self.watchers[group] or handle(CONSUMER, {
    ["bootstrap.servers"] = self.bootstrap, ["group.id"] = group, ["enable.auto.commit"] = "false",
    ["reconnect.backoff.max.ms"] = 500,
  })
  return self.watchers[group]
end

local function offsets_of(topic, partition)
  local list = rd.rd_kafka_topic_partition_list_new(1)
  return list, rd.rd_kafka_topic_partition_list_add(list, topic, partition or 0)
end

-- What the group has committed to Kafka, nil when nothing.
function Client:committed(group, topic, partition)
  local list, element = offsets_of(topic, partition)
  local code = rd.rd_kafka_committed(watcher(self, group), list, TIMEOUT_MS)
  local offset = tonumber(element.offset)
  rd.rd_kafka_topic_partition_list_destroy(list)
  check(code, "committed offsets of " .. group)
  return offset >= 0 and offset or nil
end

-- Commits in the name of a group without members.
function Client:commit(group, topic, partition, offset)
  local list, element = offsets_of(topic, partition)
  element.offset = offset
  local code = rd.rd_kafka_commit(watcher(self, group), list, 0)
  rd.rd_kafka_topic_partition_list_destroy(list)
  check(code, "commit of " .. group)
end

-- Everything new in the topic from now on, without a group: a function that returns the next
-- message's value and key, or nil after `timeout_ms` without one.
function Client:follow(topic)
  local partitions = self:partition_count(topic)
  local consumer = handle(CONSUMER, {
    ["bootstrap.servers"] = self.bootstrap, ["group.id"] = "follower",
    ["enable.auto.commit"] = "false",
  })
  rd.rd_kafka_poll_set_consumer(consumer)
  local list = rd.rd_kafka_topic_partition_list_new(partitions)
  for partition = 0, partitions - 1 do
    local _, last = self:watermarks(topic, partition)
    rd.rd_kafka_topic_partition_list_add(list, topic, partition).offset = last
  end
  check(rd.rd_kafka_assign(consumer, list), "follow " .. topic)
  rd.rd_kafka_topic_partition_list_destroy(list)
  return function(timeout_ms)
    local message = rd.rd_kafka_consumer_poll(consumer, timeout_ms)
    if message == nil then
      return nil
    end
    local value, key
    if message.err == 0 then
      value = ffi.string(message.payload, message.len)
      key = ffi.string(message.key, message.key_len)
    end
    rd.rd_kafka_message_destroy(message)
    return value, key
  end
end

-- A broker within this process; it lives until the end.
function rdkafka.mock()
  local host = handle(PRODUCER, {})
  local cluster = rd.rd_kafka_mock_cluster_new(host, 1)
  assert(cluster ~= nil, "no mock cluster")
  return {
    bootstrap = ffi.string(rd.rd_kafka_mock_cluster_bootstraps(cluster)),
    create_topic = function(_, name, partitions)
      check(rd.rd_kafka_mock_topic_create(cluster, name, partitions or 1, 1), "create " .. name)
    end,
    set_up = function(_, up)
      local change = up and rd.rd_kafka_mock_broker_set_up or rd.rd_kafka_mock_broker_set_down
      check(change(cluster, 1), "mock broker")
    end,
  }
end

return rdkafka
