-- A topic that is deleted and made anew, and already longer than the old one had been read to: what
-- was read is not there any more, and all is read from the beginning. What else may happen to
-- messages that were read is not taken for it.
local site = require "spec.support.faults.site"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

local SAID = "the topic was made anew"

local function count(text, part)
  local n, at = 0, 1
  while true do
    local from, to = text:find(part, at, true)
    if not from then return n end
    n, at = n + 1, to + 1
  end
end

local function open(options)
  local s = site.open(options)
  finally(function() s:close() end)

  function s.made_anew()
    local sum = 0
    for partition = 0, s.partitions - 1 do
      sum = sum + (s.services[1]:metric(
        ('core_service_ingest_made_anew_total{topic="%s",partition="%d"}'):format(s.topic,
          partition)) or 0)
    end
    return sum
  end
  -- Something that was read is remembered of each partition, `marks` numbers each time.
  function s.wait_marks(condition)
    wait.till("what was read is noted", 30, function()
      return s.database:number(("SELECT count(*) FROM ingest_offsets WHERE topic = '%s' AND %s"):
        format(s.topic, condition or "marks IS NOT NULL")) == s.partitions
    end)
  end
  function s.make_anew(settings)
    s.broker:delete_topic(s.topic)
    wait.till("the topic is gone and made anew", 30, function()
      return pcall(s.broker.create_topic, s.broker, s.topic, s.partitions, settings)
    end)
    s.checker:topic_is_new()
  end
  function s.candles(n)
    local messages = {}
    for i = 1, n do messages[i] = s.load:message({ symbol = "S" .. i % 7 }, 0) end
    return messages
  end
  return s
end

describe("a topic that is made anew with more messages than were read", function()
  it("is read from its beginning, which is said and counted once", function()
    local s = open { bad = 200 }
    s:feed(600)
    s:start "ready"
    s:wait_ingested()
    s.checker:read()
    s.wait_marks()
    s.services[1]:stop()
    s.make_anew()
    s:feed(3000)
    s:start "ready"
    local found = s:verdict()
    assert.are.same({}, found.troubles)
    assert.are.equal(s.partitions, s.made_anew())
    assert.are.equal(s.partitions, count(s.services[1]:text(), SAID))

    s:feed(300) -- and no more of it, at work or at the next start
    s:wait_ingested()
    s.wait_marks()
    wait.pause(6)
    assert.are.equal(s.partitions, s.made_anew())
    s.services[1]:kill()
    s:start "ready"
    assert.are.same({}, s:verdict().troubles)
    assert.are.equal(0, s.made_anew())
  end)

  it("is noticed while it is read", function()
    local s = open { bad = 200 }
    s:feed(600)
    s:start "ready"
    s:wait_ingested()
    s.checker:read()
    s.wait_marks()
    s.make_anew()
    s:feed(3000)
    wait.till("it is noticed", 60, function() return s.made_anew() == s.partitions end)
    s:wait_ingested()
    -- What lies behind the old place was read first, and then again in its turn.
    local found = s:verdict()
    assert.are.same({ 0, 0 }, { found.lost, found.stale }, table.concat(found.troubles, "\n"))
    assert.are.equal(s.partitions, count(s.services[1]:text(), SAID))
  end)
end)

describe("a topic is not taken for another", function()
  local function is_the_same(s)
    local before = count(s.services[1]:text(), SAID)
    s.services[1]:kill()
    s:start "ready"
    s:feed(20)
    s:wait_ingested()
    wait.pause(6)
    assert.are.equal(0, s.made_anew())
    assert.are.equal(before, count(s.services[1]:text(), SAID))
  end

  it("when messages that were read are compacted away", function()
    local s = open { partitions = 1, bad = 0 }
    s.broker:delete_topic(s.topic)
    wait.till("the topic is made with compaction", 30, function()
      return pcall(s.broker.create_topic, s.broker, s.topic, 1, {
        ["cleanup.policy"] = "compact", ["segment.ms"] = 100, ["min.cleanable.dirty.ratio"] = 0.01,
        ["delete.retention.ms"] = 0, ["max.compaction.lag.ms"] = 500,
      })
    end)
    s:start "ready"
    for i = 1, 30 do
      local one = s.load:message({ symbol = "SAME" }, 0)
      one.key = "SAME_1m"
      s:feed { one }
      wait.pause(0.05)
      if i == 10 then s.wait_marks() end
    end
    s:wait_ingested()
    local function oldest_left()
      local first
      local reader = topic.reader(s.broker.bootstrap, s.topic)
      reader:each(1, function(_, offset) first = first or offset end)
      return first
    end
    wait.till("the message that is remembered is compacted away", 60, function()
      local one = s.load:message({ symbol = "SAME" }, 0)
      one.key = "SAME_1m"
      s:feed { one }
      local left, marked = oldest_left(),
        s.database:number "SELECT marks[4] FROM ingest_offsets WHERE marks IS NOT NULL"
      return left > marked, ("%d is left, %d is remembered"):format(left, marked)
    end, 0.5)
    is_the_same(s)
  end)

  it("when messages that were read are deleted, some or all", function()
    local s = open { bad = 0 }
    s:feed(600)
    s:start "ready"
    s:wait_ingested()
    s.wait_marks()
    s.services[1]:stop()
    for partition = 0, s.partitions - 1 do
      local _, last = s.broker:watermarks(s.topic, partition)
      topic.delete_records(s.broker.client, s.topic, partition, last - 10 * partition)
    end
    s:start "ready"
    is_the_same(s)
  end)

  it("when transactions end behind what was read, or were aborted there", function()
    local s = open { partitions = 1, bad = 0 }
    local producer = topic.transactions(s.broker.bootstrap, s.topic)
    s:start "ready"
    for i = 1, 10 do
      producer:send(s.topic, { s.load:message({ symbol = "T" }, 0) },
        i % 3 == 0 and "abort" or "commit")
    end
    s:wait_ingested()
    s.wait_marks()
    producer:send(s.topic, { s.load:message({ symbol = "T" }, 0) }, "abort")
    s:wait_ingested()
    is_the_same(s)
  end)

  it("when only what was read last is another, as after an unclean leader election", function()
    local s = open { partitions = 1, bad = 0 }
    s:start "ready"
    s:feed(s.candles(10))
    s:wait_ingested()
    s.wait_marks()
    s:feed(s.candles(10))
    s:wait_ingested()
    s.wait_marks "marks[1] <> marks[4]"
    s.services[1]:kill()
    s.database:exec "UPDATE ingest_offsets SET marks[3] = marks[3] + 1 WHERE marks IS NOT NULL"
    s:start "ready"
    s.services[1]:wait_for_log "but the topic was not made anew for all that can be told"
    is_the_same(s)
  end)
end)
