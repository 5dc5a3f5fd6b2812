-- What happens to topics: messages are deleted before they are read, a topic is made anew,
-- partitions are added, transactions are aborted, another program stood here before.
local moments = require "spec.support.faults.moments"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

local MESSAGES = 2000 -- a round

-- The original has stored, without numbers, what lies before its committed offsets.
local function taken_over(s)
  local database, client = s.database, s.broker
  for partition = 0, s.partitions - 1 do
    client:commit(s.group, s.topic, partition, s.options.original[partition])
  end
  for _, k in pairs(s.checker.rows) do
    if k.before then
      local name = k.interval == "1m" and "market_klines" or "klines"
      local columns = k.interval == "1m" and "" or ", interval"
      local value = k.interval == "1m" and "" or (", '%s'"):format(k.interval)
      database:exec(([[
        INSERT INTO %s (time, symbol, open, high, low, close, volume%s) VALUES
          (to_timestamp(%.0f / 1000.0), '%s', %s, %s, %s, %s, %s%s)]]):format(name, columns, k.time,
        k.symbol, k.open, k.high, k.low, k.close, k.volume, value))
    end
  end
end

local function switch_triggers(s, how)
  for _, name in ipairs { "market_klines", "klines" } do
    s.database:exec(("ALTER TABLE %s %s TRIGGER ALL"):format(name, how))
  end
end

local function takeover(s, rounds)
  s.database:exec [[
    ALTER TABLE market_klines ALTER symbol TYPE text, ALTER open TYPE numeric,
      ALTER high TYPE numeric, ALTER low TYPE numeric, ALTER close TYPE numeric(20, 8),
      ALTER volume TYPE numeric;
    ALTER TABLE klines ALTER symbol TYPE text, ALTER open TYPE numeric, ALTER high TYPE numeric,
      ALTER low TYPE numeric, ALTER close TYPE numeric(20, 8), ALTER volume TYPE numeric]]
  s:feed(MESSAGES)
  for partition = 0, s.partitions - 1 do
    local _, last = s.broker:watermarks(s.topic, partition)
    s.options.original[partition] = last - partition * 10
  end
  s.checker:read()
  switch_triggers(s, "DISABLE")
  taken_over(s)
  switch_triggers(s, "ENABLE")
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:start(false)
    moments.wait(s)
    s.services[1]:kill()
  end
  s:start "ready"
end

-- Retention has deleted what the service had not read.
local function deleted_before_read(s, rounds)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:start "ready"
    s:wait_ingested()
    s.checker:read()
    s.services[1]:kill()
    s:feed(MESSAGES)
    for partition = 0, s.partitions - 1 do
      local _, last = s.broker:watermarks(s.topic, partition)
      topic.delete_records(s.broker.client, s.topic, partition, last - math.random(100))
    end
  end
  s:start "ready"
  s.services[1]:wait_for_log("messages were deleted before they were read", 20)
end

-- Shorter than before: where the service stands there is nothing.
local function made_anew(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    s:wait_ingested()
    s.checker:read()
    s.broker:delete_topic(s.topic)
    wait.till("the topic is gone and made anew", 30, function()
      return pcall(s.broker.create_topic, s.broker, s.topic, s.partitions)
    end)
    s.checker:topic_is_new()
    s:feed(MESSAGES / 4)
    s:wait_ingested(90)
    s.checker:read()
  end
end

local function partitions_added(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    s.partitions = s.partitions + 1
    topic.set_partitions(s.broker.client, s.topic, s.partitions)
    s.checker.partitions, s.load.partitions = s.partitions, s.partitions
    wait.till("the new partition can be written to", 20, function()
      return s.broker:watermarks(s.topic, s.partitions - 1, 1000)
    end)
    local messages = {}
    for i = 1, 100 do
      messages[i] = s.load:message({ symbol = "NEW" .. s.partitions }, s.partitions - 1)
    end
    s:feed(messages)
  end
end

local function transactions(s, rounds)
  s:start "ready"
  local producer = topic.transactions(s.broker.bootstrap, s.topic)
  for _ = 1, rounds do
    local messages = {}
    for i = 1, 100 do
      messages[i] = s.load:message({ symbol = "T" .. math.random(5) }, 0)
    end
    producer:send(s.topic, messages, math.random(2) == 1 and "abort" or "commit")
  end
  producer:send(s.topic, { s.load:message({ symbol = "LAST" }, 0) }, "abort")
end

local function odd_messages(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    local large = s.load:message { symbol = "LARGE" }
    large.value = large.value .. (" "):rep(5000)
    s:feed { { value = nil, key = "tombstone" }, { value = "", key = "empty" }, large,
      s.load:message { symbol = "AFTER" }, { value = "\255\254\0", key = "\255" } }
    topic.send_with_header(s.broker.client, s.topic, s.load:message { symbol = "HEADER" },
      "trace", "abc")
    topic.send_with_header(s.broker.client, s.topic, s.load:message { symbol = "HEADER" }, "none")
    s.broker:flush()
    s:wait_ingested()
  end
end

local function one_partition()
  return { partitions = 1 }
end

return {
  { name = "an original deployment is taken over", rounds = 2, run = takeover,
    options = function() return { original = {}, bad = 0 } end },
  { name = "messages are deleted before they are read", rounds = 2, run = deleted_before_read },
  { name = "the topic is made anew", rounds = 1, run = made_anew,
    options = function() return { bad = 300 } end },
  { name = "partitions are added", rounds = 2, run = partitions_added },
  { name = "transactions are aborted", rounds = 20, run = transactions, options = one_partition },
  { name = "odd messages", rounds = 3, run = odd_messages,
    options = function()
      return { partitions = 1, env = { INGEST_MESSAGE_MAX_BYTES = 5000 }, largest = 5000 }
    end },
}
