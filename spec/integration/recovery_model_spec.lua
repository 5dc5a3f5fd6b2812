-- Random lives of the whole service against a model: messages through Kafka, refusals by the rules
-- and by PostgreSQL, losses, late arrivals, kills, re-drive, retention; frontends that miss
-- messages and recover them end with exactly the table, and are told exactly what is missing.
local frontend = require "spec.support.frontend"
local life = require "spec.support.life"
local parted = require "spec.support.parted"
local road = require "spec.support.road"
local service = require "spec.support.service"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

-- SPEC_SEED repeats a run.
local SEED = tonumber(os.getenv "SPEC_SEED") or os.time() % 100000

local DAY_MS = 24 * 60 * 60 * 1000
local N_PARTITIONS = 3
local ROUNDS = 5
local DAYS_BEFORE = 5 -- more than a page opens

local function chance(probability) return math.random() < probability end
local function member(list) return list[math.random(#list)] end

-- CCC is carried by two partitions, where numbers are global.
local function new_series(numbering)
  return {
    { symbol = "AAA", interval = "1m", partitions = { 0 } },
    { symbol = "AAA", interval = "5m", partitions = { 0 } },
    { symbol = "BBB", interval = "1m", partitions = { 1 } },
    { symbol = "CCC", interval = "1m", partitions = numbering == "dense" and { 2 } or { 0, 2 } },
    { symbol = "CCC", interval = "1M", partitions = { 2 } },
  }
end

-- ---- the world: the service, the model and the frontends side by side ----

local World = {}
World.__index = World

local function new_world(numbering, is_parted)
  local series = new_series(numbering)
  local self = setmetatable({
    numbering = numbering, is_parted = is_parted, series = series,
    model = life.new(series, N_PARTITIONS, numbering),
    numbers = {}, used = {}, held = {}, frontends = {}, log = {},
    day = parted.FIRST_DAY, oldest_day = parted.FIRST_DAY,
  }, World)
  self.road = road.open {
    partitions = N_PARTITIONS, start = false,
    env = { MARKET_DATA_NUMBERING = numbering, LEDGER_FLOOR_MS = 200 },
  }
  self.db = self.road.database
  if is_parted then parted.split(self.db) end
  for _, name in ipairs { "market_klines", "klines" } do
    self.db:exec(("ALTER TABLE %s %s"):format(name, life.FORBIDDEN))
  end
  self.road:start()
  for i, one in ipairs(series) do
    self.frontends[i] = frontend.new(one, function(query)
      local answer = self.road:missed(query)
      assert(answer.status == 200, query .. ": " .. answer.body)
      return answer.json
    end)
  end
  return self
end

-- ---- messages ----

function World:next_number(series)
  local counter = self.numbering == "dense" and series or self
  local step = self.numbering == "dense" and 1 or math.random(3)
  self.numbers[counter] = (self.numbers[counter] or 0) + step
  return self.numbers[counter]
end

function World:highest(series)
  return self.numbers[self.numbering == "dense" and series or self] or 0
end

local KINDS = { "mistaken", "forbidden", "unreadable", "unnamed" }

-- Candles are updated; what PostgreSQL refuses has a candle of its own, so that no later update of
-- it hides the refusal.
function World:compose()
  local series = member(self.series)
  local message = {
    series = series, partition = member(series.partitions), kind = "good",
    ms = self.day * DAY_MS + math.random(0, 40) * 60000,
  }
  if chance(0.95) then message.seq = self:next_number(series) end
  if message.seq and chance(0.15) then message.kind = member(KINDS) end
  if message.kind == "forbidden" then
    self.n_own = (self.n_own or 0) + 1
    message.ms = self.day * DAY_MS + 3600000 + self.n_own * 1000
  end
  return message
end

-- Some messages come late, and with dense numbers some never.
function World:messages(n)
  local messages = {}
  for _ = 1, n do
    local message = self:compose()
    local is_held = message.kind == "good" and message.seq and chance(0.05)
    if is_held then
      self.held[#self.held + 1] = message
    elseif not (self.numbering == "dense" and message.seq and chance(0.05)) then
      messages[#messages + 1] = message
    end
    if #self.held > 0 and chance(0.05) then
      messages[#messages + 1] = table.remove(self.held, math.random(#self.held))
      messages[#messages].is_late = true
    end
  end
  return messages
end

function World:release_held()
  local messages = self.held
  self.held = {}
  for _, message in ipairs(messages) do message.is_late = true end
  return messages
end

function World:send(messages)
  for _, message in ipairs(messages) do
    local encoded = life.encode(message)
    self.road.broker:send(self.road.topic, encoded.value, encoded.key, encoded.partition)
  end
  self.road.broker:flush()
  for _, message in ipairs(messages) do
    if not message.is_lost then self:broadcast(message) end
  end
end

-- What the table will hold is broadcast too; a frontend misses half of it, but not what is late:
-- nothing tells it of that afterwards.
function World:broadcast(message)
  for _, client in ipairs(self.frontends) do
    if client.series == message.series and message.kind == "good" and message.seq
      and (message.is_late or chance(0.5)) then
      client:hear(message)
    end
  end
end

function World:read(messages)
  for _, message in ipairs(messages) do self.model:read(message) end
end

-- ---- what happens ----

-- The numbers in the table, by time.
function World:rows_now(series)
  local found = {}
  local is_minute = series.interval == "1m"
  for _, row in ipairs(self.db:rows(([[
    SELECT (extract(epoch FROM time) * 1000)::bigint AS ms, sequence FROM %s
    WHERE symbol = '%s' AND %s AND sequence IS NOT NULL]]):format(
    is_minute and "market_klines" or "klines", series.symbol,
    is_minute and "true" or "interval = '" .. series.interval .. "'"))) do
    found[tonumber(row.ms)] = tonumber(row.sequence)
  end
  return found
end

-- A walk while candles arrive: every row that was there when it began is in it, or has given way to
-- a newer one.
function World:walk_meanwhile()
  local client = member(self.frontends)
  local before, seen = self:rows_now(client.series), {}
  client:walk(0, self:highest(client.series) + 10, function(ms, seq)
    seen[ms] = math.max(seen[ms] or -1, seq)
  end)
  local after = self:rows_now(client.series)
  for ms, seq in pairs(before) do
    assert.is_true((seen[ms] or -1) >= seq or (after[ms] or -1) > seq,
      ("%s: %d@%d was skipped"):format(client.series.symbol, seq, ms))
  end
end

local Actions = {}

function Actions.live(self)
  local messages = self:messages(math.random(50, 300))
  self:send(messages)
  self:read(messages)
  for _ = 1, 3 do self:walk_meanwhile() end
  for _, client in ipairs(self.frontends) do
    if chance(0.5) then client:recover() end
  end
end

function Actions.killed(self)
  local messages = self:messages(math.random(200, 600))
  self:send(messages)
  self:read(messages)
  wait.pause(math.random() * 0.05)
  self.road.service:kill()
  self.road.service:start()
  self:walk_meanwhile()
end

-- Sent while the service is away; the first of one partition are deleted before it is back.
function Actions.away(self)
  self.road.service:stop()
  local messages = self:messages(math.random(20, 100))
  local place = math.random(0, N_PARTITIONS - 1)
  local _, last = self.road.broker:watermarks(self.road.topic, place)
  if chance(0.7) then
    local left = math.random(0, 4)
    for _, message in ipairs(messages) do
      if message.partition == place and left > 0 then
        message.is_lost = true
        left, last = left - 1, last + 1
      end
    end
    self:send(messages)
    topic.delete_records(self.road.broker.client, self.road.topic, place, last)
  else
    self:send(messages)
  end
  self:read(messages)
  self.road.service:start()
end

-- The last message of a partition cannot be read: it holds back what the partition carries, while
-- the others go on.
function Actions.in_doubt(self)
  local last = self:compose()
  last.kind = member { "unreadable", "unnamed" }
  local messages = { last }
  for _, message in ipairs(self:messages(math.random(10, 60))) do
    if message.partition ~= last.partition then messages[#messages + 1] = message end
  end
  self.road.service:stop()
  self:send(messages)
  self:read(messages)
  self.road.service:start()
end

function Actions.redriven(self)
  for _, name in ipairs { "market_klines", "klines" } do
    self.db:exec(("ALTER TABLE %s DROP CONSTRAINT forbidden"):format(name))
  end
  local code, output = service.run({ "redrive" }, {
    DATABASE_URL = self.db.url, KAFKA_BROKERS = self.road.broker.bootstrap,
    MARKET_DATA_TOPIC = self.road.topic, MARKET_CONSUMER_GROUP_ID = self.road.group,
    MARKET_DATA_NUMBERING = self.numbering,
  })
  assert(code == 0 or code == 1, output)
  self.model:redrive()
  for _, name in ipairs { "market_klines", "klines" } do
    self.db:exec(("ALTER TABLE %s %s NOT VALID"):format(name, life.FORBIDDEN))
  end
end

-- A day is over; the oldest may be deleted.
function Actions.day_over(self)
  local messages = self:release_held()
  self:send(messages)
  self:read(messages)
  self:settle()
  self.day = self.day + 1
  Actions.redriven(self)
  local first = ("'1970-01-01Z'::timestamptz + interval '%d days'"):format(self.oldest_day)
  for _, name in ipairs { "market_klines", "klines" } do
    if self.is_parted and name == "market_klines" then
      self.db:exec("DROP TABLE market_klines_" .. self.oldest_day)
    else
      self.db:exec(("DELETE FROM %s WHERE time < %s + interval '1 day'"):format(name, first))
    end
  end
  self.model:expire(self.oldest_day)
  wait.till("the floor has moved", 20, function()
    return self.db:number(([[
      SELECT count(*) FROM sequence_ranges WHERE day <= '1970-01-01'::date + %d]])
      :format(self.oldest_day)) == 0
  end)
  self.oldest_day = self.oldest_day + 1
end

local NAMES = {
  "live", "live", "killed", "away", "in_doubt", "in_doubt", "redriven", "day_over", "day_over",
}

-- ---- settling and looking ----

function World:settle()
  self.road:wait_ingested(60)
  self.model:settle()
  if self.numbering == "dense" then return end
  wait.till("quiet partitions hold nothing back", 20, function()
    local found = self.db:rows(([[
      SELECT partition, coalesce(greatest(max_sequence, clear_to), -1) AS reach
      FROM ingest_offsets WHERE topic = '%s']]):format(self.road.topic))
    local fine, why = #found == N_PARTITIONS, #found .. " partitions"
    for _, row in ipairs(found) do
      local partition = self.model.partitions[tonumber(row.partition)]
      local expected = math.max(partition.max or -1, partition.clear or -1)
      if tonumber(row.reach) ~= expected then
        fine = false
        why = ("partition %s: %s, expected %d"):format(row.partition, row.reach, expected)
      end
    end
    return fine, why
  end)
end

function World:check_range(client, from, to)
  local rows = {}
  client:walk(from, to, function(ms, seq) rows[#rows + 1] = seq .. "@" .. ms end,
    function(page, page_from)
      local missing = self.model:missing(client.series, page_from, to)
      assert.same(missing, life.numbers_of(page.missing))
      assert.equal(next(missing) == nil, page.complete)
    end)
  assert.same(self.model:stored(client.series, from, to), rows)
end

function World:check_ranges()
  for _, client in ipairs(self.frontends) do
    local highest = self:highest(client.series)
    self:check_range(client, 0, highest + 5)
    for _ = 1, 4 do
      local from = math.random(0, highest)
      self:check_range(client, from, from + math.random(1, chance(0.5) and 20 or highest + 10))
    end
  end
end

-- A frontend that has heard of the last number holds what the table holds, and beyond it only what
-- has expired.
function World:check_frontends()
  for _, client in ipairs(self.frontends) do
    client.heard = self:highest(client.series)
    client:recover()
    client:ask_again()
    local held = {}
    for ms, seq in pairs(client.candles) do
      if ms >= self.oldest_day * DAY_MS then held[ms] = seq end
    end
    assert.same(self:rows_now(client.series), held)
  end
end

-- Some days that are over. A series counts as ingested as far as the partitions are that are known
-- to carry it, so each has messages in all of its partitions.
function World:begin()
  local messages = {}
  for _ = 1, DAYS_BEFORE do
    for _, series in ipairs(self.series) do
      for _, partition in ipairs(series.partitions) do
        messages[#messages + 1] = {
          series = series, partition = partition, kind = "good", seq = self:next_number(series),
          ms = self.day * DAY_MS + partition * 60000,
        }
      end
    end
    self.day = self.day + 1
  end
  self:send(messages)
  self:read(messages)
  self:settle()
end

function World:live_through(rounds)
  self:begin()
  for _ = 1, rounds do
    local name = member(NAMES)
    self.log[#self.log + 1] = name
    Actions[name](self)
    self:settle()
    self:check_ranges()
    self:check_frontends()
  end
end

describe(("recovery (SPEC_SEED=%d)"):format(SEED), function()
  for i, kind in ipairs {
    { "global", false, "a table" }, { "global", true, "a table with a thousand parts" },
    { "dense", false, "a table, each series being numbered by itself" },
  } do
    local numbering, is_parted, what = unpack(kind)
    it("gives a frontend exactly what is in " .. what, function()
      math.randomseed(SEED + i)
      local world = new_world(numbering, is_parted)
      local fine, why = xpcall(world.live_through, function(trouble)
        return debug.traceback(type(trouble) == "table" and tostring(trouble.message) or trouble)
      end, world, ROUNDS)
      world.road:close()
      if not fine then error(("after %s: %s"):format(table.concat(world.log, ", "), why), 0) end
    end)
  end
end)
