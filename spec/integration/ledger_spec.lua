-- The ledger's functions and the answer that is made of them, on a real PostgreSQL, against a model
-- that keeps every message: plain tables, and a table with a thousand partitions.
local life = require "spec.support.life"
local parted_table = require "spec.support.parted"
local postgres = require "spec.support.postgres"
local rules = require "spec.support.rules"
local statements = require "spec.support.statements"

local GROUP, TOPIC = "core-service-market-consumer", "market_data"
local FIRST_DAY, DAYS = parted_table.FIRST_DAY, parted_table.DAYS
local DAY_MS = 24 * 60 * 60 * 1000

-- SPEC_SEED repeats a run.
local SEED = tonumber(os.getenv "SPEC_SEED") or os.time() % 100000

-- ---- the model ----

local World = {}
World.__index = World

-- Series are symbols; `partitions`: symbol -> list of the partitions that carry it.
local function new_world(db, partitions)
  db:exec [[TRUNCATE market_klines, ingest_offsets, sequence_series, sequence_ranges, sequence_gaps,
    sequence_bounds]]
  local self = setmetatable({
    db = db, partitions = partitions, progress = {}, gaps = {}, floor = {}, base = {}, rows = {},
    known = {}, highest = 0,
  }, World)
  for symbol in pairs(partitions) do self.rows[symbol] = {} end
  return self
end

local function random_member(list) return list[math.random(#list)] end

local function list_of(values, format)
  local texts = {}
  for i, value in ipairs(values) do texts[i] = format:format(value) end
  return "ARRAY[" .. table.concat(texts, ",") .. "]"
end

-- Stores one batch as ingest does: rows by the newer number, ranges, series, progress.
-- `messages`: { symbol, partition, seq, ms }.
function World:store(messages)
  local newest, ranges, order = {}, {}, {}
  for _, message in ipairs(messages) do
    local key = message.symbol .. message.ms
    local kept = self.rows[message.symbol][message.ms]
    if not kept or message.seq >= kept then
      self.rows[message.symbol][message.ms] = message.seq
      newest[key] = message
    end
    local day = math.floor(message.ms / DAY_MS)
    local range = ranges[message.symbol .. day]
    if not range then
      range = { symbol = message.symbol, day = day, min = message.seq, max = message.seq,
        from = message.ms, to = message.ms }
      ranges[message.symbol .. day] = range
      order[#order + 1] = range
    end
    range.min, range.max = math.min(range.min, message.seq), math.max(range.max, message.seq)
    range.from, range.to = math.min(range.from, message.ms), math.max(range.to, message.ms)
  end
  self:write_rows(newest)
  self:write_ranges(order)
  for _, message in ipairs(messages) do self:read_up_to(message) end
end

function World:write_rows(newest)
  local values = {}
  for _, message in pairs(newest) do
    values[#values + 1] = ("(to_timestamp(%.3f), '%s', 1, 2, 1, 2, 3, %d)")
      :format(message.ms / 1000, message.symbol, message.seq)
  end
  if #values == 0 then return end
  self.db:exec("INSERT INTO market_klines VALUES " .. table.concat(values, ",")
    .. " ON CONFLICT (time, symbol) DO UPDATE SET sequence = EXCLUDED.sequence")
end

function World:write_ranges(order)
  local columns = { {}, {}, {}, {}, {}, {} }
  for i, range in ipairs(order) do
    columns[1][i], columns[2][i], columns[3][i] = range.symbol, range.day, range.min
    columns[4][i], columns[5][i], columns[6][i] = range.max, range.from / 1000, range.to / 1000
  end
  if #order == 0 then return end
  self.db:exec(("SELECT ledger_widen(array_fill('market_klines'::text, ARRAY[%d]), %s, %s, %s, %s,"
    .. "%s, %s)"):format(#order, list_of(columns[1], "'%s'"),
    list_of(columns[2], "'1970-01-01'::date + %d"), list_of(columns[3], "%d::bigint"),
    list_of(columns[4], "%d::bigint"), list_of(columns[5], "to_timestamp(%.3f)"),
    list_of(columns[6], "to_timestamp(%.3f)")))
end

function World:read_up_to(message)
  local place = message.partition
  self.progress[place] = math.max(self.progress[place] or -1, message.seq)
  self.highest = math.max(self.highest, message.seq)
  local carrier = message.symbol .. "/" .. place
  if not self.known[carrier] then
    self.known[carrier] = true
    self.db:exec(("INSERT INTO sequence_series VALUES ('market_klines', '%s', '%s', '%s', %d)")
      :format(message.symbol, GROUP, TOPIC, place))
  end
end

function World:write_progress()
  for place, seq in pairs(self.progress) do
    self.db:exec(([[INSERT INTO ingest_offsets (group_id, topic, partition, next_offset,
      max_sequence) VALUES ('%s', '%s', %d, 0, %d)
      ON CONFLICT (group_id, topic, partition) DO UPDATE SET max_sequence = EXCLUDED.max_sequence]])
      :format(GROUP, TOPIC, place, seq))
  end
end

-- A gap of one series, or of all that partition `place` carries.
function World:add_gap(symbol, place, from, to, reason)
  self.gaps[#self.gaps + 1] = { symbol = symbol, place = place, from = from, to = to,
    reason = reason }
  self.db:exec(([[INSERT INTO sequence_gaps
    (table_name, series, group_id, topic, partition, from_seq, to_seq, reason)
    VALUES (%s, %s, '%s', '%s', %d, %d, %d, '%s')]]):format(
    symbol and "'market_klines'" or "NULL", symbol and "'" .. symbol .. "'" or "NULL",
    GROUP, TOPIC, place, from, to, reason))
end

function World:set_bounds(symbol, floor, base)
  self.floor[symbol], self.base[symbol] = floor, base
  self.db:exec(([[INSERT INTO sequence_bounds VALUES ('market_klines', '%s', %s, %s)]])
    :format(symbol, floor or "NULL", base or "NULL"))
end

-- Up to where everything of the symbol was read: as far as all partitions are that carry it, or all
-- that there are while it was never seen.
function World:ingested(symbol)
  local least
  local function look(place)
    local seq = self.progress[place] or -1
    if not least or seq < least then least = seq end
  end
  for _, place in ipairs(self.partitions[symbol] or {}) do
    if self.known[symbol .. "/" .. place] then look(place) end
  end
  if not least then
    for place in pairs(self.progress) do look(place) end
  end
  return math.max(least or -1, self.base[symbol] or -1)
end

function World:gap_concerns(gap, symbol)
  if gap.symbol then return gap.symbol == symbol end
  local is_known = false
  for _, place in ipairs(self.partitions[symbol] or {}) do
    is_known = is_known or self.known[symbol .. "/" .. place]
  end
  return not is_known or self.known[symbol .. "/" .. gap.place] == true
end

-- number -> reason -> true, of all that is missing.
function World:missing(symbol, from, to)
  local ingested, floor = self:ingested(symbol), self.floor[symbol] or -1
  local missing = {}
  for seq = from + 1, to do
    local reasons = {}
    if seq <= floor then
      reasons.expired = true
    elseif seq > ingested then
      reasons.not_ingested = true
    else
      for _, gap in ipairs(self.gaps) do
        if gap.from < seq and seq <= gap.to and self:gap_concerns(gap, symbol) then
          reasons[gap.reason] = true
        end
      end
    end
    missing[seq] = next(reasons) and reasons
  end
  return missing
end

-- The rows in the range, as "sequence@ms", in order.
function World:stored(symbol, from, to)
  local rows = {}
  for ms, seq in pairs(self.rows[symbol] or {}) do
    if seq > from and seq <= to then rows[#rows + 1] = { seq = seq, ms = ms } end
  end
  table.sort(rows, function(a, b) return a.seq < b.seq or a.seq == b.seq and a.ms < b.ms end)
  local texts = {}
  for i, row in ipairs(rows) do texts[i] = row.seq .. "@" .. row.ms end
  return texts
end

-- ---- random worlds ----

-- A life of several days: numbers count on, today's candles are updated, some of yesterday's come
-- late, and in some batches one old day's.
local function live(world, days, symbols)
  local seq, batches = math.random(0, 5), math.random(3, 8)
  for day = 1, days do
    local today = FIRST_DAY + DAYS - days + day - 1
    for batch = 1, batches do
      local old_day, messages = FIRST_DAY + math.random(0, DAYS - days - 1), {}
      local has_old = math.random() < 0.3
      for _ = 1, math.random(1, 40) do
        -- One number may be there twice.
        if math.random() < 0.95 then seq = seq + math.random(1, 3) end
        local symbol = random_member(symbols)
        local at = today
        if has_old and math.random() < 0.2 then at = old_day
        elseif day > 1 and batch == 1 and math.random() < 0.3 then at = today - 1 end
        local minute = math.random(0, 30)
        if at == today then minute = batch * 60 + minute end
        messages[#messages + 1] = {
          symbol = symbol, partition = random_member(world.partitions[symbol]), seq = seq,
          ms = at * DAY_MS + minute * 60000,
        }
      end
      world:store(messages)
    end
  end
  return seq
end

local REASONS = { "rejected", "never_received", "lost" }

local function harm(world, symbols, highest)
  for _ = 1, math.random(0, 12) do
    local from = math.random(0, highest)
    local symbol = math.random() < 0.7 and random_member(symbols)
    local place = symbol and world.partitions[symbol][1] or math.random(0, 3)
    world:add_gap(symbol, place, from, from + math.random(1, 15), random_member(REASONS))
  end
  for _, symbol in ipairs(symbols) do
    if math.random() < 0.4 then
      world:set_bounds(symbol, math.random() < 0.7 and math.random(0, highest),
        math.random() < 0.3 and math.random(0, highest + 20))
    end
  end
  -- One partition is behind the others.
  for place in pairs(world.progress) do
    if math.random() < 0.3 then
      world.progress[place] = math.max(0, world.progress[place] - math.random(0, 30))
    end
  end
  world:write_progress()
end

local SYMBOLS = { "AAA", "BBB", "CCC" }
local PARTITIONS = { AAA = { 0 }, BBB = { 1 }, CCC = { 0, 2 } }

describe(("the ledger (SPEC_SEED=%d)"):format(SEED), function()
  local kit = rules.open()
  local plain, parted, plain_asker, parted_asker

  lazy_setup(function()
    local cluster = postgres.shared()
    plain = cluster:migrated "ledger_plain"
    parted = cluster:migrated "ledger_parted"
    parted_table.split(parted)
    plain_asker = statements.prepare(plain, kit, kit:endpoint "endpoints.klines_missed")
    parted_asker = statements.prepare(parted, kit, kit:endpoint "endpoints.klines_missed")
  end)

  lazy_teardown(function()
    plain:drop()
    parted:drop()
  end)

  -- Walks through the range as a frontend does, with pages of random sizes; the rows in order.
  local function walk(asker, symbol, from, to, watch)
    local rows, pages, first = {}, 0, nil
    repeat
      local body = asker:ask({
        symbol = symbol, fromSeq = tostring(from), toSeq = tostring(to),
        limit = tostring(math.random(1, 30)),
      }, watch)
      first = first or body
      for _, entry in ipairs(body.data) do rows[#rows + 1] = entry.seq .. "@" .. entry.timestamp end
      assert.equal(body.complete, #body.missing == 0)
      if body.hasMore then
        assert.is_true(body.nextFromSeq > from and body.nextFromSeq < to)
        from = body.nextFromSeq
      else
        assert.equal(kit.cs.null, body.nextFromSeq)
      end
      pages = pages + 1
      assert.is_true(pages < 2000, "pages without end")
    until not body.hasMore
    return rows, first, pages
  end

  local function check(world, asker, symbol, from, to, watch)
    local rows, first = walk(asker, symbol, from, to, watch)
    assert.same(world:stored(symbol, from, to), rows)
    local missing = world:missing(symbol, from, to)
    assert.same(missing, life.numbers_of(first.missing))
    assert.equal(next(missing) == nil, first.complete)
  end

  local function check_ranges(world, asker, highest, times, watch)
    for _ = 1, times do
      local from = math.random(0, highest)
      local to = from + math.random(1, math.random() < 0.5 and 20 or highest + 10)
      check(world, asker, random_member(SYMBOLS), from, to, watch)
    end
    check(world, asker, "NEVERSEEN", 0, highest + 5, watch)
  end

  it("says of a plain table what the model says, row by row and number by number", function()
    math.randomseed(SEED)
    for _ = 1, 8 do
      local world = new_world(plain, PARTITIONS)
      local highest = live(world, math.random(1, 4), SYMBOLS)
      harm(world, SYMBOLS, highest)
      check_ranges(world, plain_asker, highest, 15)
    end
  end)

  it("says it of a table with a thousand partitions, and no query opens more than three", function()
    math.randomseed(SEED)
    local most = 0
    local function watch(i, values)
      local locks = parted_asker:locks(i, values)
      -- Of the ledger's statement none.
      assert.is_true(locks <= (i <= 2 and 0 or 3), locks .. " partitions")
      most = math.max(most, locks)
    end
    for _ = 1, 5 do
      local world = new_world(parted, PARTITIONS)
      local highest = live(world, math.random(4, 8), SYMBOLS)
      harm(world, SYMBOLS, highest)
      check_ranges(world, parted_asker, highest, 8, watch)
    end
    assert.equal(3, most)
  end)

  it("counts to the last number that there is", function()
    local world = new_world(plain, PARTITIONS)
    world:store { { symbol = "AAA", partition = 0, seq = 7, ms = FIRST_DAY * DAY_MS } }
    world:write_progress()
    plain:exec "UPDATE ingest_offsets SET max_sequence = 9223372036854775806"
    plain:exec "UPDATE market_klines SET sequence = 9223372036854775807"
    local body, text = plain_asker:ask {
      symbol = "AAA", fromSeq = "9223372036854775805", toSeq = "9223372036854775807",
    }
    assert.equal(1, body.count)
    assert.is_false(body.hasMore)
    assert.matches('"missing":[{"fromSeq":9223372036854775806,"reason":"not_ingested",'
      .. '"toSeq":9223372036854775807}]', text, 1, true)
    assert.matches('"oldestSeq":9223372036854775807', text, 1, true)
  end)

  it("gives a thousand pieces and one more for each reason at most, and leaves none out", function()
    local world = new_world(plain, PARTITIONS)
    world:store { { symbol = "AAA", partition = 0, seq = 9000, ms = FIRST_DAY * DAY_MS } }
    world:write_progress()
    plain:exec(([[
      INSERT INTO sequence_gaps (table_name, series, group_id, topic, partition, from_seq, to_seq,
        reason)
      SELECT 'market_klines', 'AAA', '%s', '%s', 0, n, n + 1,
        CASE n %% 4 WHEN 0 THEN 'lost' ELSE 'rejected' END
      FROM generate_series(2, 8000, 2) n]]):format(GROUP, TOPIC))
    local missing = plain_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "9500" }.missing
    assert.is_true(#missing <= 1003, #missing)
    assert.same({ fromSeq = 2, toSeq = 3, reason = "rejected" }, missing[1])
    local ends = {}
    for _, piece in ipairs(missing) do ends[piece.reason] = piece.toSeq end
    assert.same({ rejected = 7999, lost = 8001, not_ingested = 9500 }, ends)
  end)

  it("gives no empty piece of a gap that reaches beyond what was ingested", function()
    local world = new_world(plain, PARTITIONS)
    world:store {
      { symbol = "CCC", partition = 0, seq = 20, ms = FIRST_DAY * DAY_MS },
      { symbol = "CCC", partition = 2, seq = 40, ms = FIRST_DAY * DAY_MS + 60000 },
    }
    world:write_progress()
    world:add_gap("CCC", 2, 10, 30, "rejected")
    local function missing(from, to)
      return plain_asker:ask({ symbol = "CCC", fromSeq = from, toSeq = to }).missing
    end
    assert.same({ { fromSeq = 20, toSeq = 40, reason = "not_ingested" } }, missing("20", "40"))
    assert.same({
      { fromSeq = 19, toSeq = 20, reason = "rejected" },
      { fromSeq = 20, toSeq = 40, reason = "not_ingested" },
    }, missing("19", "40"))
    world:set_bounds("CCC", 25)
    assert.same({ { fromSeq = 12, toSeq = 25, reason = "expired" } }, missing("12", "25"))
  end)

  it("holds nothing back for a partition that was read to its end and is quiet", function()
    local world = new_world(plain, PARTITIONS)
    world:store {
      { symbol = "CCC", partition = 0, seq = 10, ms = FIRST_DAY * DAY_MS },
      { symbol = "CCC", partition = 2, seq = 90, ms = FIRST_DAY * DAY_MS + 60000 },
    }
    world:write_progress()
    local function late()
      local piece = plain_asker:ask { symbol = "CCC", fromSeq = "0", toSeq = "90" }.missing[1]
      return piece and piece.fromSeq
    end
    assert.equal(10, late())
    plain:exec "UPDATE ingest_offsets SET clear_to = 70 WHERE partition = 0"
    assert.equal(70, late())
    plain:exec "UPDATE ingest_offsets SET clear_to = 90 WHERE partition = 0"
    assert.is_nil(late())
  end)

  it("knows of a densely numbered series how far it was read itself", function()
    local world = new_world(plain, PARTITIONS)
    world:store { { symbol = "AAA", partition = 0, seq = 50, ms = FIRST_DAY * DAY_MS } }
    world:write_progress()
    plain:exec "UPDATE sequence_series SET max_seq = 30"
    assert.same({ { fromSeq = 30, toSeq = 50, reason = "not_ingested" } },
      plain_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "50" }.missing)
  end)

  it("takes what came after all out of a gap", function()
    local world = new_world(plain, PARTITIONS)
    world:store { { symbol = "AAA", partition = 0, seq = 50, ms = FIRST_DAY * DAY_MS } }
    world:write_progress()
    world:add_gap("AAA", 0, 10, 14, "never_received")
    world:add_gap("BBB", 0, 10, 14, "never_received")
    local function missing()
      local texts = {}
      for i, piece in ipairs(plain_asker:ask {
        symbol = "AAA", fromSeq = "0", toSeq = "50",
      }.missing) do
        texts[i] = piece.fromSeq .. "-" .. piece.toSeq
      end
      return table.concat(texts, " ")
    end
    local function heal(seq)
      return plain:number(([[SELECT ledger_heal(ARRAY['market_klines'], ARRAY['AAA'],
        ARRAY[%d]::bigint[])]]):format(seq))
    end
    assert.equal(1, heal(12))
    assert.equal("10-11 12-14", missing())
    assert.equal(0, heal(12))
    assert.equal(0, heal(10))
    assert.equal(1, heal(11))
    assert.equal(1, heal(14))
    assert.equal("12-13", missing())
    assert.equal(1, heal(13))
    assert.equal("", missing())
    assert.equal(1, plain:number "SELECT count(*) FROM sequence_gaps")
  end)

  it("says nothing of another group's progress", function()
    local world = new_world(plain, PARTITIONS)
    world:store { { symbol = "AAA", partition = 0, seq = 50, ms = FIRST_DAY * DAY_MS } }
    world:write_progress()
    plain:exec "UPDATE ingest_offsets SET group_id = 'another'"
    assert.is_false(plain_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "50" }.complete)
    plain:exec "UPDATE sequence_series SET group_id = 'another'"
    assert.is_false(plain_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "50" }.complete)
  end)

  it("knows the lowest and the highest number of a table with partitions", function()
    local world = new_world(parted, PARTITIONS)
    for day = 0, 5 do
      world:store {
        { symbol = "AAA", partition = 0, seq = 10 + day, ms = (FIRST_DAY + day) * DAY_MS },
        { symbol = "AAA", partition = 0, seq = 30 - day, ms = (FIRST_DAY + 100 + day) * DAY_MS },
      }
    end
    local body = parted_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "50" }
    assert.same({ 10, 30 }, { body.oldestSeq, body.newestSeq })
    body = parted_asker:ask { symbol = "BBB", fromSeq = "0", toSeq = "50" }
    assert.same({ kit.cs.null, kit.cs.null }, { body.oldestSeq, body.newestSeq })
  end)

  it("ends a page of a table with partitions before a fourth day", function()
    local world = new_world(parted, PARTITIONS)
    for day = 0, 9 do
      world:store {
        { symbol = "AAA", partition = 0, seq = 10 * day + 1, ms = (FIRST_DAY + day) * DAY_MS },
        { symbol = "AAA", partition = 0, seq = 10 * day + 9,
          ms = (FIRST_DAY + day + 1) * DAY_MS - 1 },
      }
    end
    world:write_progress()
    local body = parted_asker:ask { symbol = "AAA", fromSeq = "0", toSeq = "99" }
    assert.same({ 6, true, 30 }, { body.count, body.hasMore, body.nextFromSeq })
    local _, _, pages = walk(parted_asker, "AAA", 0, 99)
    assert.is_true(pages >= 4)
  end)

  -- Ten days with ten numbers each; then late candles of the first four, one after the other.
  local function world_with_late_days(times)
    local world = new_world(parted, PARTITIONS)
    for day = 0, 9 do
      world:store { { symbol = "AAA", partition = 0, seq = 10 * day + 1,
        ms = (FIRST_DAY + day) * DAY_MS } }
      world:store { { symbol = "AAA", partition = 0, seq = 10 * day + 10,
        ms = (FIRST_DAY + day) * DAY_MS + 60000 } }
    end
    for n = 1, times do
      local day = FIRST_DAY + n % 4
      world:store { { symbol = "AAA", partition = 0, seq = 100 + n,
        ms = day * DAY_MS + n % 7 * 60000 } }
    end
    world:write_progress()
    return world
  end

  it("opens one day where one day's numbers are, however late old days' candles come", function()
    local world, most = world_with_late_days(8), 0
    local function watch(i, values) most = math.max(most, parted_asker:locks(i, values)) end
    check(world, parted_asker, "AAA", 50, 60, watch)
    assert.equal(1, most)
    check(world, parted_asker, "AAA", 0, 110, watch)
    assert.equal(3, most)
  end)

  it("keeps few ranges of a day all the same, and leaves nothing out", function()
    local world = world_with_late_days(200)
    assert.equal(32, parted:number [[
      SELECT max(n) FROM (SELECT count(*) AS n FROM sequence_ranges GROUP BY day) d]])
    for _ = 1, 10 do
      local from = math.random(0, 290)
      check(world, parted_asker, "AAA", from, math.random(from + 1, 300))
    end
  end)

  it("leaves nothing out when many days hold the same numbers", function()
    math.randomseed(SEED)
    for _ = 1, 3 do
      local world = new_world(parted, PARTITIONS)
      local seq = 0
      for _ = 1, 10 do
        local messages = {}
        for _ = 1, 60 do
          if math.random() < 0.8 then seq = seq + 1 end
          messages[#messages + 1] = {
            symbol = "AAA", partition = 0, seq = seq,
            ms = (FIRST_DAY + math.random(0, 12) * 70) * DAY_MS + math.random(0, 9) * 60000,
          }
        end
        world:store(messages)
      end
      world:write_progress()
      for _ = 1, 6 do
        local from = math.random(0, seq - 1)
        check(world, parted_asker, "AAA", from, math.random(from + 1, seq))
      end
    end
  end)
end)
