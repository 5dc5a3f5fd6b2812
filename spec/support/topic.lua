-- What specs of faults do with a topic beyond sending to it: read it back whole, delete its oldest
-- messages, add partitions, write in transactions and with headers.
local ffi = require "ffi"
local rdkafka = require "spec.support.rdkafka"

ffi.cdef [[
typedef struct rd_kafka_error_s rd_kafka_error_t;
typedef struct rd_kafka_DeleteRecords_s rd_kafka_DeleteRecords_t;
typedef struct rd_kafka_NewPartitions_s rd_kafka_NewPartitions_t;
rd_kafka_DeleteRecords_t *rd_kafka_DeleteRecords_new(const rd_kafka_topic_partition_list_t *);
void rd_kafka_DeleteRecords_destroy(rd_kafka_DeleteRecords_t *);
void rd_kafka_DeleteRecords(rd_kafka_t *, rd_kafka_DeleteRecords_t **, size_t,
                            const rd_kafka_AdminOptions_t *, rd_kafka_queue_t *);
rd_kafka_NewPartitions_t *rd_kafka_NewPartitions_new(const char *, size_t, char *, size_t);
void rd_kafka_NewPartitions_destroy(rd_kafka_NewPartitions_t *);
void rd_kafka_CreatePartitions(rd_kafka_t *, rd_kafka_NewPartitions_t **, size_t,
                               const rd_kafka_AdminOptions_t *, rd_kafka_queue_t *);
rd_kafka_error_t *rd_kafka_init_transactions(rd_kafka_t *, int timeout_ms);
rd_kafka_error_t *rd_kafka_begin_transaction(rd_kafka_t *);
rd_kafka_error_t *rd_kafka_commit_transaction(rd_kafka_t *, int timeout_ms);
rd_kafka_error_t *rd_kafka_abort_transaction(rd_kafka_t *, int timeout_ms);
const char *rd_kafka_error_string(const rd_kafka_error_t *);
int rd_kafka_flush(rd_kafka_t *, int timeout_ms);
int rd_kafka_producev(rd_kafka_t *, ...);
]]

local rd = ffi.load "librdkafka.so.1"
local PRODUCER, CONSUMER = 0, 1
local PARTITION_EOF = -191
local TIMEOUT_MS = 20000

local topic = {}
local Reader, Transactions = {}, {}
Reader.__index = Reader
Transactions.__index = Transactions

local function check(code, what)
  if code ~= 0 then
    error(("%s: %s"):format(what, ffi.string(rd.rd_kafka_err2str(code))), 3)
  end
end

-- Reads what was committed, without a group. It remembers how far it has read.
function topic.reader(bootstrap, name)
  local kafka = rdkafka.handle(CONSUMER, {
    ["bootstrap.servers"] = bootstrap, ["group.id"] = "checker", ["enable.auto.commit"] = "false",
    ["enable.partition.eof"] = "true", ["auto.offset.reset"] = "earliest",
    ["reconnect.backoff.max.ms"] = 500, ["isolation.level"] = "read_committed",
  })
  rd.rd_kafka_poll_set_consumer(kafka)
  return setmetatable({ kafka = kafka, name = name, next = {} }, Reader)
end

local function assign(self, partitions)
  local list = rd.rd_kafka_topic_partition_list_new(partitions)
  for partition = 0, partitions - 1 do
    rd.rd_kafka_topic_partition_list_add(list, self.name, partition).offset =
      self.next[partition] or 0
  end
  check(rd.rd_kafka_assign(self.kafka, list), "read " .. self.name)
  rd.rd_kafka_topic_partition_list_destroy(list)
end

local function text_of(data, size)
  return data ~= nil and ffi.string(data, size) or nil
end

-- Calls take(partition, offset, value, key) for every message behind those it has read before.
function Reader:each(partitions, take)
  assign(self, partitions)
  local open, silent = partitions, 0
  while open > 0 do
    local message = rd.rd_kafka_consumer_poll(self.kafka, 1000)
    if message == nil then
      silent = silent + 1
      assert(silent < TIMEOUT_MS / 1000, "the topic cannot be read back: " .. self.name)
    elseif message.err == PARTITION_EOF then
      open = open - 1
      self.next[message.partition] = tonumber(message.offset)
    elseif message.err == 0 then
      silent = 0
      take(message.partition, tonumber(message.offset), text_of(message.payload, message.len),
        text_of(message.key, message.key_len))
    end
    if message ~= nil then
      rd.rd_kafka_message_destroy(message)
    end
  end
  check(rd.rd_kafka_assign(self.kafka, nil), "read " .. self.name)
end

-- The topic was made anew.
function Reader:begin_again()
  self.next = {}
end

local function administer(client, what, start)
  local queue = rd.rd_kafka_queue_new(client.kafka)
  start(queue)
  local event = rd.rd_kafka_queue_poll(queue, TIMEOUT_MS)
  assert(event ~= nil, what .. ": no answer")
  check(rd.rd_kafka_event_error(event), what)
  rd.rd_kafka_event_destroy(event)
  rd.rd_kafka_queue_destroy(queue)
end

-- Deletes what lies before `offset`, as retention does.
function topic.delete_records(client, name, partition, offset)
  local list = rd.rd_kafka_topic_partition_list_new(1)
  rd.rd_kafka_topic_partition_list_add(list, name, partition).offset = offset
  local records = rd.rd_kafka_DeleteRecords_new(list)
  administer(client, "delete records of " .. name, function(queue)
    rd.rd_kafka_DeleteRecords(client.kafka, ffi.new("rd_kafka_DeleteRecords_t *[1]", { records }),
      1, nil, queue)
  end)
  rd.rd_kafka_DeleteRecords_destroy(records)
  rd.rd_kafka_topic_partition_list_destroy(list)
end

function topic.set_partitions(client, name, partitions)
  local text = ffi.new "char[256]"
  local new = rd.rd_kafka_NewPartitions_new(name, partitions, text, 256)
  assert(new ~= nil, ffi.string(text))
  administer(client, "add partitions to " .. name, function(queue)
    rd.rd_kafka_CreatePartitions(client.kafka, ffi.new("rd_kafka_NewPartitions_t *[1]", { new }), 1,
      nil, queue)
  end)
  rd.rd_kafka_NewPartitions_destroy(new)
end

local END, TOPIC, PARTITION, VALUE, KEY, MSGFLAGS, HEADER = 0, 1, 3, 4, 5, 7, 9
local F_COPY = 2

-- As client:send, with one header; its value may be nil.
function topic.send_with_header(client, name, message, header, value)
  local int, size = ffi.typeof "int", ffi.typeof "size_t"
  check(rd.rd_kafka_producev(client.kafka, int(TOPIC), ffi.cast("const char *", name),
    int(PARTITION), int(message.partition or 0), int(MSGFLAGS), int(F_COPY),
    int(VALUE), ffi.cast("const char *", message.value), size(#message.value),
    int(KEY), ffi.cast("const char *", message.key or ""), size(#(message.key or "")),
    int(HEADER), ffi.cast("const char *", header), ffi.cast("const char *", value),
    ffi.new("int64_t", value and #value or 0), int(END)), "send to " .. name)
end

local function succeed(failure, what)
  if failure ~= nil then
    error(what .. ": " .. ffi.string(rd.rd_kafka_error_string(failure)), 3)
  end
end

-- A producer that writes in transactions.
function topic.transactions(bootstrap, id)
  local kafka = rdkafka.handle(PRODUCER, {
    ["bootstrap.servers"] = bootstrap, ["transactional.id"] = id, ["linger.ms"] = 2,
  })
  succeed(rd.rd_kafka_init_transactions(kafka, TIMEOUT_MS), "init transactions")
  return setmetatable({ kafka = kafka, topics = {} }, Transactions)
end

-- Sends the messages ({ value, key, partition }) in one transaction; `how` is "commit" or "abort".
function Transactions:send(name, messages, how)
  self.topics[name] = self.topics[name] or rd.rd_kafka_topic_new(self.kafka, name, nil)
  succeed(rd.rd_kafka_begin_transaction(self.kafka), "begin")
  for _, m in ipairs(messages) do
    assert(rd.rd_kafka_produce(self.topics[name], m.partition or 0, F_COPY, m.value,
      #m.value, m.key, m.key and #m.key or 0, nil) == 0, "a message of a transaction was not taken")
  end
  if how == "abort" then
    rd.rd_kafka_flush(self.kafka, TIMEOUT_MS) -- else they are dropped before they are in the log
    succeed(rd.rd_kafka_abort_transaction(self.kafka, TIMEOUT_MS), "abort")
  else
    succeed(rd.rd_kafka_commit_transaction(self.kafka, TIMEOUT_MS), "commit")
  end
end

return topic
