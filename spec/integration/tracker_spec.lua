-- A stream whose messages bring no numbers takes them from sequence_tracker.
local postgres = require "spec.support.postgres"
local road = require "spec.support.road"
local rules_dir = require "spec.support.rules_dir"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local START_MS, MINUTE = 1704067200000, 60000
local symbols = { [0] = "BTCUSDT", "ETHUSDT", "BNBUSDT" }

local STREAM = [[
local columns = { time = "timestamptz", symbol = "text", sequence = "int8?" }
for _, name in ipairs { "open", "high", "low", "close", "volume" } do columns[name] = "float8" end

return {
  name = "Numbered",
  topic = cs.env("MARKET_DATA_TOPIC", "market_data"),
  sequence_from = "tracker",
  fields = { symbol = "text", time = "ms", price = "float8", seq = "int8?" },
  shapes = { { symbol = "s", time = "t", price = "p", seq = "seq" } },
  tables = {
    market_klines = {
      columns = columns,
      key = { "time", "symbol" },
      newer = "sequence",
      track = { by = { "symbol" }, sequence = "sequence", time = "time" },
    },
  },
  map = function(m)
    return { market_klines = {
      time = m.time, symbol = m.symbol, sequence = m.seq,
      open = m.price, high = m.price, low = m.price, close = m.price, volume = 1,
    } }
  end,
}
]]

local function message(partition, minute, price, seq)
  return {
    partition = partition,
    value = ('{"s":"%s","t":%d,"p":%s%s}'):format(symbols[partition], START_MS + minute * MINUTE,
      price or 1, seq and ',"seq":' .. seq or ""),
  }
end

-- Instead of the second version, which would read the same topic.
local function rules()
  local dir = rules_dir.copy()
  dir:write("streams/numbered.lua", STREAM)
  dir:edit("init.lua", 'require "streams.market_data_v2"', 'require "streams.numbered"')
  return dir.path
end

-- Commits that nobody waits for would be lost with the cluster for seconds.
local function careless_cluster()
  return postgres.new { settings = {
    wal_writer_delay = "10s", wal_writer_flush_after = "1GB", checkpoint_timeout = "1h",
  } }
end

describe("A stream that takes its numbers from the tracker", function()
  local cluster, directory, r

  lazy_setup(function()
    cluster = careless_cluster()
    directory = rules()
  end)

  lazy_teardown(function()
    if cluster then cluster:stop "QUIT" end
  end)

  local function open(options)
    options.database = cluster:migrated "tracker"
    options.env = options.env or {}
    options.env.LUA_DIR = directory
    r = road.open(options)
  end

  after_each(function()
    if r then
      r:close()
      r.database:drop()
      r = nil
    end
  end)

  -- Who has which number: every number that was ever seen has one owner for good.
  local function ledger_of_owners()
    local owners = {}
    return function(number, owner)
      assert.are.equal(owner, owners[number] or owner, "of number " .. number)
      owners[number] = owner
    end
  end

  -- `newest`: only so many.
  local function see_rows(own, newest)
    for _, row in ipairs(r.database:rows([[
        SELECT sequence, symbol || ' ' || time AS key FROM market_klines
        ORDER BY sequence DESC LIMIT ]] .. (newest or "ALL"))) do
      own(assert(row.sequence, row.key .. " has no number"), row.key)
    end
  end

  local function call(own, n)
    for _ = 1, n do
      own(r.database:value "SELECT get_next_sequence()", "a caller " .. wait.now())
    end
  end

  local function expect_order_of_offsets()
    assert.are.same({}, r.database:rows [[
      SELECT * FROM (SELECT symbol, time, sequence,
        lag(sequence) OVER (PARTITION BY symbol ORDER BY time) AS before FROM market_klines) AS s
      WHERE before >= sequence]])
  end

  it("numbers messages in the order of offsets, beside callers of get_next_sequence()", function()
    open { partitions = 3, env = { MARKET_CONSUMER_BATCH_SIZE = 200, INGEST_WORKERS = 2 } }
    local messages, calls = 0, 0
    local own = ledger_of_owners()
    for minute = 1, 4000 do
      for partition = 0, 2 do
        messages = messages + 1
        local m = message(partition, minute)
        r.broker:send(r.topic, m.value, nil, m.partition)
      end
    end
    r.broker:flush()
    wait.till("all is ingested", 60, function()
      r.service.process:must_run()
      call(own, 20)
      calls = calls + 20
      return r:progress() == messages
    end, 0.002)
    see_rows(own)
    expect_order_of_offsets()
    assert.are.equal(messages, r.database:number "SELECT count(*) FROM market_klines")
    -- Nothing was rolled back: every number that was taken is in a row, or was a caller's.
    assert.are.equal(messages + calls,
      r.database:number "SELECT last_sequence FROM sequence_tracker")
  end)

  it("never gives a number twice, whatever is killed", function()
    open { partitions = 3, env = { MARKET_CONSUMER_BATCH_SIZE = 50 } }
    local own = ledger_of_owners()
    local sent = 0
    local function send(n)
      for _ = 1, n do
        sent = sent + 1
        local m = message(sent % 3, sent)
        r.broker:send(r.topic, m.value, nil, m.partition)
      end
      r.broker:flush()
    end
    for round = 1, 4 do
      call(own, 3)
      send(5000)
      local goal = sent - 4000
      wait.till(goal .. " messages are ingested", 60, function()
        return r:progress() >= goal
      end, 0.002)
      see_rows(own)
      if round % 2 == 1 then
        see_rows(own, 200) -- and no call: its commit would take those of the batches to disk
        cluster:stop "QUIT"
        r.database:close()
        cluster:admin():close()
        if round == 3 then r.service:kill() end
        cluster:start()
        call(own, 200) -- at once: they would get the numbers that were lost
        if round == 3 then r.service:start() end
      else
        r.service:kill()
        call(own, 3)
        r.service:start()
      end
      see_rows(own)
      call(own, 3)
    end
    r:wait_ingested(60)
    see_rows(own)
    expect_order_of_offsets()
    assert.are.equal(sent, r.database:number "SELECT count(*) FROM market_klines")
    assert.are.equal(0, r.database:number "SELECT count(*) FROM rejected_messages")
  end)

  local function numbers()
    local list = {}
    for i, row in ipairs(r.database:rows [[
        SELECT symbol || ' ' || close || ' ' || coalesce(sequence::text, 'none') AS text
        FROM market_klines ORDER BY time, symbol]]) do
      list[i] = row.text
    end
    return list
  end

  local function ranges()
    return r.database:value "SELECT min(min_seq) || ' ' || max(max_seq) FROM sequence_ranges"
  end

  it("keeps the numbers that messages bring, and compares them as they are", function()
    open { start = false }
    r.database:exec "UPDATE sequence_tracker SET last_sequence = 100"
    r.broker:send_all(r.topic, {
      message(0, 1, 10, 7), message(0, 1, 11), message(0, 1, 12), -- the last has the greatest
      message(0, 2, 20, 5000), message(0, 2, 21), -- the first has
      message(0, 3, 30),
    })
    r:start()
    r:wait_ingested()
    assert.are.same({ "BTCUSDT 12 102", "BTCUSDT 20 5000", "BTCUSDT 30 104" }, numbers())
    assert.are.equal(104, r.database:number "SELECT last_sequence FROM sequence_tracker")
    assert.are.equal(5000, r.database:number "SELECT max(max_sequence) FROM ingest_offsets")
    assert.are.equal("7 5000", ranges())
  end)

  it("gives a refused message no number, and stores it without one later", function()
    open { start = false }
    r.database:exec "ALTER TABLE market_klines ALTER sequence SET NOT NULL, ADD CHECK (close < 100)"
    local messages = {}
    for minute = 1, 9 do
      messages[minute] = message(0, minute, (minute == 4 or minute == 5) and 100 or minute)
    end
    r.broker:send_all(r.topic, messages)
    r:start()
    r:wait_ingested()
    assert.are.same({ "BTCUSDT 1 1", "BTCUSDT 2 2", "BTCUSDT 3 3", "BTCUSDT 6 4", "BTCUSDT 7 5",
      "BTCUSDT 8 6", "BTCUSDT 9 7" }, numbers())
    assert.are.equal("2 database 0", r.database:value [[
      SELECT count(*) || ' ' || min(stage) || ' ' || count(sequence) FROM rejected_messages]])
    assert.are.equal("1 7", ranges())
    assert.are.equal(7, r.database:number "SELECT max(max_sequence) FROM ingest_offsets")
    assert.are.equal(0, r.database:number "SELECT count(*) FROM sequence_gaps")

    r.database:exec [[ALTER TABLE market_klines ALTER sequence DROP NOT NULL,
      DROP CONSTRAINT market_klines_close_check]]
    local code, output = service.run({ "redrive", "--stream", "Numbered" }, r.service.env)
    assert.are.equal(0, code, output)
    local stored = numbers()
    assert.are.same({ "BTCUSDT 100 none", "BTCUSDT 100 none" }, { stored[4], stored[5] })
  end)

  it("waits while there is no tracker, and says so", function()
    open { start = false, wait = "alive" }
    r.database:exec "DELETE FROM sequence_tracker"
    r.broker:send_all(r.topic, { message(0, 1) })
    r:start()
    wait.till("/readyz says it", 20, function()
      local answer = r.service:admin "/readyz"
      return answer.body:find("sequence_tracker has no row", 1, true), answer.body
    end)
    assert.are.equal(0, r.database:number "SELECT count(*) FROM rejected_messages")
    r.database:file "migrations/002_add_sequence_numbers.sql"
    r:wait_ingested()
    assert.are.same({ "BTCUSDT 1 1" }, numbers())
  end)
end)
