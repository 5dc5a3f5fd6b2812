-- Holds the tables against the topic. A model reads every message once, in order, and says what
-- must have become of it; a trigger keeps a note of every row that was ever written.
--
--   lost        should be there and is not: a row, a rejected message, an offset
--   duplicated  took effect twice, or without a message: a row, a rejected message
--   stale       a row is not what the message that wins says, or once went back to an older number
--   strayed     a row was not written in the transaction that moved the partition past its message
local cjson = require "cjson"
local moves = require "spec.support.moves"
local topic = require "spec.support.topic"

local checker = {}
local Checker = {}
Checker.__index = Checker

local INTERVALS = {
  ["1m"] = "market_klines", ["5m"] = "klines", ["1h"] = "klines", ["1d"] = "klines",
  ["1w"] = "klines", ["1M"] = "klines",
}
local PARTITIONS_MAX = 4096
local COLUMNS = { "open", "high", "low", "close", "volume", "seq" }

local audit = [[
CREATE TABLE IF NOT EXISTS spec_writes (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key TEXT, sequence BIGINT, serial BIGINT,
  xid TEXT DEFAULT pg_current_xact_id()::text);
CREATE OR REPLACE FUNCTION spec_note() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO spec_writes (key, sequence, serial)
  SELECT (extract(epoch FROM time) * 1000)::bigint || ' ' || symbol || ' ' ||
    coalesce(to_jsonb(w)->>'interval', '1m'), (to_jsonb(w)->>'sequence')::bigint, volume::numeric
  FROM written w;
  RETURN NULL;
END $$;]]

local trigger = [[
CREATE OR REPLACE TRIGGER spec_%s AFTER %s ON %s REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION spec_note();]]

-- options:
--   database, broker, topic, group
--   partitions   how many the topic has; the field may be changed later
--   original     { [partition] = offset }: what lies before was dealt with by the program that ran
--                before, which stored no sequence
--   refuses      function(candle, partition, offset): it is refused all the same
--   largest      bytes of a message at most
function checker.new(options)
  local self = setmetatable({
    database = options.database, broker = options.broker, topic = options.topic,
    group = options.group, partitions = options.partitions, original = options.original or {},
    refuses = options.refuses or function() end, largest = options.largest or math.huge,
    rows = {}, places = {}, before = {}, rejected = {},
    counts = { messages = 0, accepted = 0, skipped = 0, rejected = 0 },
  }, Checker)
  self.reader = topic.reader(self.broker.bootstrap, self.topic)
  self.database:exec(audit)
  moves.watch(self.database)
  for _, name in ipairs { "market_klines", "klines" } do
    for _, event in ipairs { "INSERT", "UPDATE" } do
      self.database:exec(trigger:format(event, event, name))
    end
  end
  return self
end

-- ---- the model ----

local function number(value)
  return tonumber(value)
end

-- The candle that a message is; nil when it is none.
local function candle_of(value)
  local fine, m = pcall(cjson.decode, value)
  if not fine or type(m) ~= "table" then
    return nil
  end
  local k = m.kline
  if type(k) == "table" then
    return { symbol = m.symbol, interval = m.interval, time = k.openTime, open = number(k.open),
      high = number(k.high), low = number(k.low), close = number(k.close),
      volume = number(k.volume), seq = m.seq }
  end
  return m.s and { symbol = m.s, interval = m.i or "1m", time = m.t, open = number(m.o),
    high = number(m.h), low = number(m.l), close = number(m.c), volume = number(m.v),
    seq = m.seq }
end

local function is_acceptable(k)
  return INTERVALS[k.interval] and #k.symbol <= 20 and k.high >= k.low and (k.seq or 0) >= 0
end

local function hex(bytes)
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

local function key_of(k)
  return ("%.0f %s %s"):format(k.time, k.symbol, k.interval)
end

-- The greatest sequence wins, none being the lowest; of equals the later.
local function wins(new, old)
  return not old or (new.seq or -1) >= (old.seq or -1)
end

function Checker:take(partition, offset, value)
  local counts = self.counts
  local before = offset < (self.original[partition] or 0)
  counts.messages = counts.messages + 1
  if value == nil then
    counts.skipped = counts.skipped + 1
    return
  end
  local k = #value <= self.largest and candle_of(value)
  if not k or not is_acceptable(k) or self.refuses(k, partition, offset) then
    if not before then
      local name = ("%d %d %s"):format(partition, offset, hex(value))
      self.rejected[name] = (self.rejected[name] or 0) + 1
      counts.rejected = counts.rejected + 1
    end
    return
  end
  if before then
    k.seq, k.before = nil, true
    self.before[k.volume] = true
  end
  counts.accepted = counts.accepted + 1
  self.places[k.volume] = offset * PARTITIONS_MAX + partition -- one number: there may be millions
  if wins(k, self.rows[key_of(k)]) then
    self.rows[key_of(k)] = k
  end
end

-- Takes what is new in the topic into the model.
function Checker:read()
  self.reader:each(self.partitions, function(partition, offset, value)
    self:take(partition, offset, value)
  end)
  return self
end

function Checker:topic_is_new()
  self.reader:begin_again()
end

-- ---- the comparison ----

local function blame(found, kind, text, ...)
  found[kind] = found[kind] + 1
  if #found.troubles < 10 then
    found.troubles[#found.troubles + 1] = kind .. ": " .. text:format(...)
  end
end

local function stored_rows(database)
  local rows = database:rows [[
    SELECT (extract(epoch FROM time) * 1000)::bigint AS time, symbol, '1m' AS interval, open, high,
      low, close, volume, sequence AS seq FROM market_klines
    UNION ALL
    SELECT (extract(epoch FROM time) * 1000)::bigint, symbol, interval, open, high, low, close,
      volume, sequence FROM klines]]
  for _, row in ipairs(rows) do
    row.time = tonumber(row.time)
    for _, name in ipairs(COLUMNS) do
      row[name] = tonumber(row[name])
    end
  end
  return rows
end

function Checker:compare_rows(found)
  local seen = {}
  for _, row in ipairs(stored_rows(self.database)) do
    local key = key_of(row)
    local winner = self.rows[key]
    if seen[key] or not winner then
      blame(found, "duplicated", "row %s (message %.0f) has no message", key, row.volume)
    end
    for _, name in ipairs(winner and COLUMNS or {}) do
      if row[name] ~= winner[name] then
        blame(found, "stale", "row %s has %s %s of message %.0f, message %.0f says %s", key, name,
          tostring(row[name]), row.volume, winner.volume, tostring(winner[name]))
        break
      end
    end
    seen[key] = true
  end
  for key, winner in pairs(self.rows) do
    if not seen[key] then
      blame(found, "lost", "row %s (message %.0f)", key, winner.volume)
    end
  end
end

function Checker:compare_rejected(found)
  local left = {}
  for name, count in pairs(self.rejected) do
    left[name] = count
  end
  local rows = self.database:rows(([[
    SELECT partition, "offset", encode(payload, 'hex') AS payload, stage, reason
    FROM rejected_messages
    WHERE group_id = '%s' AND topic = '%s' AND redriven_at IS NULL]])
    :format(self.group, self.topic))
  for _, row in ipairs(rows) do
    local name = ("%s %s %s"):format(row.partition, row.offset, row.payload or "")
    left[name] = (left[name] or 0) - 1
    if left[name] < 0 then
      blame(found, "duplicated", "rejected message %s (%s: %s)", name, row.stage, row.reason)
    end
  end
  for name, count in pairs(left) do
    if count > 0 then
      blame(found, "lost", "a message that must be rejected is not: %s", name)
    end
  end
end

function Checker:compare_writes(found)
  for _, row in ipairs(self.database:rows [[
    SELECT serial, count(*) AS times, min(key) AS key FROM spec_writes GROUP BY serial
    HAVING count(*) > 1]]) do
    blame(found, "duplicated", "message %s was written %s times (%s)", row.serial, row.times,
      row.key)
  end
  for _, row in ipairs(self.database:rows [[
    SELECT key, sequence, before FROM (
      SELECT key, coalesce(sequence, -1) AS sequence,
        lag(coalesce(sequence, -1)) OVER (PARTITION BY key ORDER BY id) AS before
      FROM spec_writes) AS w
    WHERE sequence < before]]) do
    blame(found, "stale", "row %s went back from %s to %s", row.key, row.before, row.sequence)
  end
  for _, row in ipairs(self.database:rows "SELECT DISTINCT serial FROM spec_writes") do
    local serial = tonumber(row.serial)
    if not self.places[serial] or self.before[serial] then
      blame(found, "duplicated", "message %s was written %s", row.serial, self.before[serial]
        and "though the original had stored it" or "and is none that may be stored")
    end
  end
end

function Checker:compare_transactions(found)
  local redriven = {} -- those were written later
  for _, row in ipairs(self.database:rows [[
    SELECT "offset" * 4096 + partition AS place FROM rejected_messages
    WHERE redriven_at IS NOT NULL]]) do
    redriven[tonumber(row.place)] = true
  end
  local function place_of(serial)
    local place = self.places[serial]
    if place and not redriven[place] then
      return place % PARTITIONS_MAX, math.floor(place / PARTITIONS_MAX)
    end
  end
  moves.check_writes(self.database, self.topic, place_of, function(serial)
    blame(found, "strayed", "message %s was not written together with its offset", serial)
  end)
end

function Checker:compare_offsets(found)
  for partition = 0, self.partitions - 1 do
    local _, last = self.broker:watermarks(self.topic, partition)
    local at = self.database:number(([[
      SELECT next_offset FROM ingest_offsets
      WHERE group_id = '%s' AND topic = '%s' AND partition = %d]]):format(self.group, self.topic,
      partition))
    if at ~= last then
      blame(found, "lost", "partition %d is at offset %s of %d", partition, tostring(at), last)
    end
  end
end

-- Once all is ingested: { lost, duplicated, stale, strayed, troubles, messages, rows, superseded,
-- skipped, rejected }.
function Checker:compare()
  self:read()
  local found = { lost = 0, duplicated = 0, stale = 0, strayed = 0, troubles = {} }
  self:compare_rows(found)
  self:compare_rejected(found)
  self:compare_writes(found)
  self:compare_transactions(found)
  self:compare_offsets(found)
  local rows = 0
  for _ in pairs(self.rows) do
    rows = rows + 1
  end
  found.messages, found.rows = self.counts.messages, rows
  found.superseded = self.counts.accepted - rows
  found.skipped, found.rejected = self.counts.skipped, self.counts.rejected
  return found
end

return checker
