-- kill -9 in the middle of 100,000 messages: the tables afterwards are those of a model that
-- reads the messages once, in order.
local road = require "spec.support.road"
local wait = require "spec.support.wait"

local MESSAGES, PARTITIONS = 100000, 3
local START_MS, MINUTE = 1704067200000, 60000
local symbols = { "BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOTUSDT" }
local intervals = { "1m", "1m", "1m", "5m", "1h" }

local function tick(step)
  return 100 + step % 4000 / 4 -- exact as a double and as text
end

-- The five shapes of a candle.
local shapes = {
  function(k)
    return ('{"symbol":"%s","interval":"%s","kline":{"openTime":%d,"open":"%s","high":"%s",' ..
      '"low":"%s","close":"%s","volume":"%s"}%s}'):format(k.symbol, k.interval, k.time, k.open,
      k.high, k.low, k.close, k.volume, k.seq and ',"seq":' .. k.seq or "")
  end,
  function(k)
    return ('{"stream":"x","data":{"e":"kline","s":"%s","k":{"s":"%s","i":"%s","t":%d,"o":"%s",' ..
      '"h":"%s","l":"%s","c":"%s","v":"%s"}}%s}'):format(k.symbol, k.symbol, k.interval, k.time,
      k.open, k.high, k.low, k.close, k.volume, k.seq and ',"seq":' .. k.seq or "")
  end,
  function(k)
    return ('{"e":"kline","s":"%s","k":{"s":"%s","i":"%s","t":%d,"o":"%s","h":"%s","l":"%s",' ..
      '"c":"%s","v":"%s"%s}}'):format(k.symbol, k.symbol, k.interval, k.time, k.open, k.high,
      k.low, k.close, k.volume, k.seq and ',"seq":' .. k.seq or "")
  end,
  function(k)
    return ('{"e":"kline","s":"%s"%s,"k":{"s":"%s","i":"%s","t":%d,"o":"%s","h":"%s","l":"%s",' ..
      '"c":"%s","v":"%s"}}'):format(k.symbol, k.seq and ',"seq":' .. k.seq or "", k.symbol,
      k.interval, k.time, k.open, k.high, k.low, k.close, k.volume)
  end,
  function(k)
    return ('{"s":"%s","i":"%s","t":%d,"o":%s,"h":%s,"l":%s,"c":%s,"v":%s%s}'):format(k.symbol,
      k.interval, k.time, k.open, k.high, k.low, k.close, k.volume,
      k.seq and ',"seq":' .. k.seq or "")
  end,
}

local bad = { "not json", '{"no":"shape"}', '{"s":"BTCUSDT","t":1704067200000,"o":1,"h":1,"l":2,' ..
  '"c":1,"v":1}', "[1,2]" }

-- Message i; every few are late (an older number), unnumbered or bad.
local function message(i, random)
  local dice = random(100)
  local symbol_number = random(#symbols)
  local partition = symbol_number % PARTITIONS
  if dice <= 1 then
    return { value = bad[random(#bad)], partition = partition, bad = true }
  end
  local close = tick(i)
  local k = {
    symbol = symbols[symbol_number],
    interval = intervals[random(#intervals)],
    time = START_MS + math.floor(i / 400) * MINUTE + random(0, 2) * MINUTE,
    open = 100, low = 50, high = 2000, close = close, volume = random(1000) / 4,
    seq = i,
  }
  if dice <= 10 then
    k.seq = math.max(1, i - random(3000))
  elseif dice <= 15 then
    k.seq = nil
  end
  local value = shapes[random(#shapes)](k)
  return { value = value, key = k.symbol .. "_" .. k.interval, partition = partition, candle = k }
end

-- Which row wins: the greatest sequence, none being the lowest; of equals the later.
local function model_take(model, k)
  local key = k.interval == "1m" and ("%d %s"):format(k.time, k.symbol)
    or ("%d %s %s"):format(k.time, k.symbol, k.interval)
  local old = model[key]
  if not old or (k.seq or -1) >= (old.seq or -1) then
    model[key] = k
  end
end

local function line(time, symbol, interval, open, high, low, close, volume, seq)
  return table.concat({ time, symbol, interval, open, high, low, close, volume, seq or "-" }, " ")
end

local function model_lines(model)
  local lines = {}
  for _, k in pairs(model) do
    lines[#lines + 1] = line(("%d"):format(k.time), k.symbol, k.interval, k.open, k.high, k.low,
      k.close, k.volume, k.seq)
  end
  table.sort(lines)
  return lines
end

local function table_lines(database)
  local rows = database:rows [[
    SELECT (extract(epoch FROM time) * 1000)::bigint AS time, symbol, '1m' AS interval, open, high,
      low, close, volume, sequence FROM market_klines
    UNION ALL
    SELECT (extract(epoch FROM time) * 1000)::bigint, symbol, interval, open, high, low, close,
      volume, sequence FROM klines]]
  local lines = {}
  for i, row in ipairs(rows) do
    lines[i] = line(row.time, row.symbol, row.interval, row.open, row.high, row.low, row.close,
      row.volume, row.sequence)
  end
  table.sort(lines)
  return lines
end

local function first_difference(a, b)
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then
      return ("line %d: expected %s, found %s"):format(i, tostring(a[i]), tostring(b[i]))
    end
  end
end

describe("100,000 messages of every kind", function()
  local r, model, refused

  lazy_setup(function()
    math.randomseed(20240101)
    r = road.open {
      partitions = PARTITIONS, start = false, wait = false,
      env = { MARKET_CONSUMER_BATCH_SIZE = 500 },
    }
    model, refused = {}, 0
    for i = 1, MESSAGES do
      local m = message(i, math.random)
      r.broker:send(r.topic, m.value, m.key, m.partition)
      if m.bad then
        refused = refused + 1
      else
        model_take(model, m.candle)
      end
    end
    r.broker:flush()
  end)
  lazy_teardown(function()
    if r then r:close() end
  end)

  it("are stored once and rightly although the service is killed three times meanwhile", function()
    r:start()
    for part = 1, 3 do
      local goal = MESSAGES * (2 * part - 1) / 8
      wait.till(("%d messages are ingested"):format(goal), 60, function()
        local done = r:progress()
        return done >= goal, done .. " are"
      end, 0.002)
      r.service:kill()
      assert.is_true(r:progress() < MESSAGES, "it was killed too late to prove anything")
      r.service:start()
    end
    r.service:wait_for "/readyz"
    r:wait_ingested(60)

    local expected, found = model_lines(model), table_lines(r.database)
    assert.is_nil(first_difference(expected, found))
    assert.are.equal(refused, r.database:number "SELECT count(*) FROM rejected_messages")
  end)

  -- The statements of the seed's "Monitoring", as they stand there.
  it("can be counted with the documented queries", function()
    local with_sequence, total = {}, {}
    for _, k in pairs(model) do
      if k.interval == "1m" then
        total[k.symbol] = (total[k.symbol] or 0) + 1
        with_sequence[k.symbol] = (with_sequence[k.symbol] or 0) + (k.seq and 1 or 0)
      end
    end
    local rows = r.database:rows [[
      SELECT
        symbol,
        COUNT(*) as total_records,
        COUNT(sequence) as with_sequence,
        MIN(sequence) as min_seq,
        MAX(sequence) as max_seq
      FROM market_klines
      GROUP BY symbol;]]
    assert.are.equal(#symbols, #rows)
    for _, row in ipairs(rows) do
      assert.are.equal(total[row.symbol], tonumber(row.total_records))
      assert.are.equal(with_sequence[row.symbol], tonumber(row.with_sequence))
    end
    local gaps = r.database:rows [[
      SELECT
        symbol,
        MAX(sequence) - MIN(sequence) + 1 - COUNT(*) as gap_count
      FROM market_klines
      WHERE sequence IS NOT NULL
      GROUP BY symbol;]]
    assert.are.equal(#symbols, #gaps)
  end)

  it("are found by sequence through the index", function()
    r.database:exec "ANALYZE market_klines"
    local plan = {}
    for i, row in ipairs(r.database:rows [[
      EXPLAIN ANALYZE
      SELECT * FROM market_klines
      WHERE symbol = 'BTCUSDT'
        AND sequence > 50000
        AND sequence <= 50050
        AND sequence IS NOT NULL;]]) do
      plan[i] = row["QUERY PLAN"]
    end
    plan = table.concat(plan, "\n")
    assert.is_truthy(plan:find("idx_market_klines_symbol_sequence", 1, true), plan)
  end)

  it("come back page by page over HTTP, all of them", function()
    local expected = {}
    for _, k in pairs(model) do
      if k.interval == "1m" and k.symbol == "ETHUSDT" and k.seq and k.seq > 20000
        and k.seq <= 60000 then
        expected[#expected + 1] = k.seq
      end
    end
    table.sort(expected)
    local found, from, pages = {}, 20000, 0
    repeat
      local answer = r:missed(("symbol=ETHUSDT&fromSeq=%d&toSeq=60000&limit=7"):format(from))
      assert.are.equal(200, answer.status, answer.body)
      for _, item in ipairs(answer.json.data) do
        found[#found + 1] = item.seq
      end
      pages = pages + 1
      from = answer.json.nextFromSeq
    until not answer.json.hasMore
    assert.are.same(expected, found)
    assert.is_true(pages > 1)
  end)
end)
