-- A model of what the service promises: it reads each partition's messages in their order and says
-- which rows the tables hold then, and which numbers of a series are missing and why.
--
-- A series is { symbol, interval, partitions }. A message is { series, seq, ms, kind, partition };
-- its kind is one of
--   good        stored
--   mistaken    refused by the rules, its number being readable
--   forbidden   refused by PostgreSQL until the constraint FORBIDDEN is dropped
--   unreadable  no JSON, its key says the series
--   unnamed     no JSON, and no key
-- seq nil: without a number.
local life = {}
local Life = {}
Life.__index = Life

local DAY_MS = 24 * 60 * 60 * 1000

-- What makes PostgreSQL refuse the forbidden.
life.FORBIDDEN = "ADD CONSTRAINT forbidden CHECK (volume <> 13)"

local VOLUME = { good = 1, mistaken = -1, forbidden = 13 }

-- `numbering` is "global" or "dense".
function life.new(series, n_partitions, numbering)
  local self = setmetatable({
    series = series, n_partitions = n_partitions, is_dense = numbering == "dense",
    partitions = {}, rows = {}, gaps = {}, wide = {}, carriers = {}, greatest = {}, floor = {},
    days = {}, pending = {},
  }, Life)
  for partition = 0, n_partitions - 1 do self.partitions[partition] = {} end
  for _, one in ipairs(series) do
    self.rows[one], self.gaps[one], self.carriers[one], self.days[one] = {}, {}, {}, {}
  end
  return self
end

-- As Kafka carries it.
function life.encode(message)
  local series = message.series
  local key = message.kind ~= "unnamed" and series.symbol .. "_" .. series.interval or nil
  local value = "no JSON"
  if VOLUME[message.kind] then
    value = ('{"s":"%s","i":"%s","t":%d,"o":1,"h":2,"l":1,"c":2,"v":%d%s}'):format(series.symbol,
      series.interval, message.ms, VOLUME[message.kind],
      message.seq and (',"seq":%d'):format(message.seq) or "")
  end
  return { value = value, key = key, partition = message.partition }
end

-- ---- what is missing ----

local function add_reason(numbers, seq, reason)
  numbers[seq] = numbers[seq] or {}
  numbers[seq][reason] = true
end

local function reach_of(partition)
  return math.max(partition.max or -1, partition.clear or -1)
end

function Life:open_hole(partition, reason, series)
  if self.is_dense or reach_of(partition) < 0 then return end
  if not partition.hole then
    partition.hole, partition.hole_series = reason, series
  else
    if reason == "lost" then partition.hole = reason end
    if partition.hole_series ~= series then partition.hole_series = nil end
  end
end

-- What the hole may have hidden lies below the first number after it.
function Life:close_hole(number, partition, seq)
  for missing = reach_of(partition) + 1, seq - 1 do
    if partition.hole_series then
      add_reason(self.gaps[partition.hole_series], missing, partition.hole)
    else
      self.wide[#self.wide + 1] = { partition = number, seq = missing, reason = partition.hole }
    end
  end
  partition.hole, partition.hole_series = nil, nil
end

function Life:count_globally(message)
  local partition = self.partitions[message.partition]
  if partition.hole and message.seq > reach_of(partition) then
    self:close_hole(message.partition, partition, message.seq)
  end
  partition.max = math.max(partition.max or -1, message.seq)
end

function Life:count_densely(message)
  local greatest = self.greatest[message.series]
  for missing = (greatest or message.seq) + 1, message.seq - 1 do
    add_reason(self.gaps[message.series], missing, "never_received")
  end
  self.greatest[message.series] = math.max(greatest or message.seq, message.seq)
  local reasons = self.gaps[message.series][message.seq]
  if reasons then reasons.never_received = nil end
end

-- ---- rows ----

function Life:store(message)
  local series, seq, ms = message.series, message.seq, message.ms
  local rows = self.rows[series]
  local kept = rows[ms]
  if not kept or (seq or -1) >= (kept.seq or -1) then rows[ms] = { seq = seq } end
  if not seq then return end
  local day = math.floor(ms / DAY_MS)
  self.days[series][day] = math.max(self.days[series][day] or -1, seq)
  self.gaps[series][seq] = nil
end

-- ---- reading ----

function Life:read(message)
  local partition = self.partitions[message.partition]
  if message.is_lost then
    self:open_hole(partition, "lost")
  elseif message.kind == "unreadable" then
    self:open_hole(partition, "rejected", message.series)
  elseif message.kind == "unnamed" then
    self:open_hole(partition, "rejected")
  else
    if message.seq then
      self.carriers[message.series][message.partition] = true
      if self.is_dense then self:count_densely(message) else self:count_globally(message) end
    end
    if message.kind == "good" then
      self:store(message)
    else
      if message.seq then add_reason(self.gaps[message.series], message.seq, "rejected") end
      if message.kind == "forbidden" then self.pending[#self.pending + 1] = message end
    end
  end
end

-- All was read, and every partition that is not in doubt was seen to be quiet.
function Life:settle()
  local highest
  for _, partition in pairs(self.partitions) do
    highest = math.max(highest or -1, partition.max or -1)
  end
  for _, partition in pairs(self.partitions) do
    if not partition.hole then partition.clear = highest end
  end
end

-- The forbidden are allowed now and run again.
function Life:redrive()
  for _, message in ipairs(self.pending) do self:store(message) end
  self.pending = {}
end

-- Retention deletes a day's rows.
function Life:expire(day)
  for _, series in ipairs(self.series) do
    for ms in pairs(self.rows[series]) do
      if math.floor(ms / DAY_MS) == day then self.rows[series][ms] = nil end
    end
    local last = self.days[series][day]
    if last then
      self.floor[series] = math.max(self.floor[series] or -1, last)
      self.days[series][day] = nil
    end
  end
end

-- ---- what an answer must say ----

-- Up to where everything of the series was read.
function Life:ingested(series)
  if self.is_dense then return self.greatest[series] or -1 end
  local least
  local is_known = next(self.carriers[series]) ~= nil
  for number, partition in pairs(self.partitions) do
    if not is_known or self.carriers[series][number] then
      least = math.min(least or math.huge, reach_of(partition))
    end
  end
  return least
end

-- number -> reason -> true
function Life:missing(series, from, to)
  local missing, ingested = {}, self:ingested(series)
  local floor = self.floor[series] or -1
  local is_known = next(self.carriers[series]) ~= nil
  for seq = from + 1, to do
    if seq <= floor then
      add_reason(missing, seq, "expired")
    elseif seq > ingested then
      add_reason(missing, seq, "not_ingested")
    else
      for reason in pairs(self.gaps[series][seq] or {}) do add_reason(missing, seq, reason) end
    end
  end
  for _, gap in ipairs(self.wide) do
    if gap.seq > math.max(from, floor) and gap.seq <= math.min(to, ingested)
      and (not is_known or self.carriers[series][gap.partition]) then
      add_reason(missing, gap.seq, gap.reason)
    end
  end
  return missing
end

-- What an answer says is missing, in the same form. Pieces of one reason neither touch nor overlap,
-- none is empty, and all are in order.
function life.numbers_of(pieces)
  local numbers, ends, before = {}, {}, -1
  for _, piece in ipairs(pieces) do
    assert(piece.fromSeq >= before, "out of order")
    assert(piece.fromSeq < piece.toSeq, "empty")
    assert((ends[piece.reason] or -1) < piece.fromSeq, "not joined")
    ends[piece.reason], before = piece.toSeq, piece.fromSeq
    for seq = piece.fromSeq + 1, piece.toSeq do add_reason(numbers, seq, piece.reason) end
  end
  return numbers
end

-- The rows in a range, as "seq@ms" in order.
function Life:stored(series, from, to)
  local found, texts = {}, {}
  for ms, row in pairs(self.rows[series]) do
    if row.seq and row.seq > from and row.seq <= to then
      found[#found + 1] = { seq = row.seq, ms = ms }
    end
  end
  table.sort(found, function(a, b) return a.seq < b.seq or a.seq == b.seq and a.ms < b.ms end)
  for i, row in ipairs(found) do texts[i] = row.seq .. "@" .. row.ms end
  return texts
end

return life
