-- The whole service on TimescaleDB itself: what it stores into open and compressed chunks, how many
-- chunks a question touches, what it says at start.
local kafka = require "spec.support.kafka"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local road = require "spec.support.road"
local service = require "spec.support.service"
local timescale = require "spec.support.timescale"
local wait = require "spec.support.wait"

local DAY = 86400000
local T = 1704067200000 -- 2024-01-01

local function migrate(database)
  local code, output = process.run {
    argv = { "scripts/migrate" },
    env = { PATH = os.getenv "PATH", DATABASE_URL = database.url }, seconds = 60,
  }
  assert(code == 0, output)
end

local function candle(symbol, time_ms, close, seq)
  return ('{"s":"%s","t":%d,"o":1,"h":%s,"l":1,"c":%s,"v":2%s}'):format(symbol, time_ms, close,
    close, seq and (',"seq":%d'):format(seq) or "")
end

local function write(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".new", path))
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

-- Where there is no TimescaleDB, scripts/test says so.
local describe_there = timescale.is_there() and describe or pending

describe_there("the service on TimescaleDB", function()
  local server, db, r, lua

  lazy_setup(function()
    server = timescale.new()
    db = server.database
    migrate(db)
    lua = process.directory() .. "/lua"
    assert(os.execute("cp -r lua " .. lua) == 0)
    local broker = kafka.shared()
    r = road.open {
      database = db,
      env = {
        LUA_DIR = lua, RULES_WATCH_MS = 0, LEDGER_FLOOR_MS = 200,
        NEWS_TOPIC = broker:topic "news", INSIGHTS_TOPIC = broker:topic "insights",
      },
    }
  end)
  lazy_teardown(function()
    if r then r:close() end
    if server then server:stop() end
  end)

  -- Statements that the running service has prepared: their names by a part of their text. One
  -- backend serves all sessions, so that this one sees them.
  local function prepared(part)
    local found = {}
    for _, row in ipairs(db:rows [[
      SELECT name, statement, generic_plans + custom_plans AS runs FROM pg_prepared_statements
      ORDER BY name]]) do
      if row.statement:find(part, 1, true) then found[#found + 1] = row end
    end
    return found
  end

  local function rows(symbol)
    return db:rows(([[
      SELECT (extract(epoch FROM time) * 1000)::bigint - %d AS ms, close, sequence
      FROM market_klines WHERE symbol = '%s' ORDER BY time]]):format(T, symbol))
  end

  local function compress(newer_than)
    db:exec(([[
      ALTER TABLE market_klines SET (timescaledb.compress,
        timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'time DESC');
      SELECT compress_chunk(c, true)
      FROM show_chunks('market_klines', newer_than => '%s'::timestamptz) c]])
      :format(newer_than or "-infinity"))
  end

  local function compressed_chunks()
    return db:number [[
      SELECT count(*) FROM timescaledb_information.chunks
      WHERE hypertable_name = 'market_klines' AND is_compressed]]
  end

  -- Which row wins, twice over: the second half of the messages finds the first half's rows.
  local FIRST = { { 0, 10, 100 }, { 1, 11, 100 }, { 2, 12, nil }, { 3, 13, nil }, { 4, 14, 104 } }
  local SECOND = {
    { 0, 20, 101 }, -- newer
    { 1, 21, 99 }, -- older
    { 2, 22, 50 }, -- a number where there was none
    { 3, 23, nil }, -- without numbers the later wins
    { 4, 24, nil }, -- no number, where there is one
    { 5, 25, 105 }, -- new
    { 5, 26, 105 }, -- equal: the later wins
  }
  local WINNERS = {
    { ms = "0", close = "20", sequence = "101" },
    { ms = "60000", close = "11", sequence = "100" },
    { ms = "120000", close = "22", sequence = "50" },
    { ms = "180000", close = "23" },
    { ms = "240000", close = "14", sequence = "104" },
    { ms = "300000", close = "26", sequence = "105" },
  }

  local function send(symbol, list)
    local messages = {}
    for i, m in ipairs(list) do messages[i] = candle(symbol, T + m[1] * 60000, m[2], m[3]) end
    r:send(messages)
  end

  it("gives the row that wins in open chunks", function()
    send("OPEN", FIRST)
    assert.equal(5, #rows "OPEN")
    send("OPEN", SECOND)
    assert.same(WINNERS, rows "OPEN")
  end)

  it("gives the row that wins in compressed chunks, and no row twice", function()
    send("PACKED", FIRST)
    compress()
    assert.equal(1, compressed_chunks())
    send("PACKED", SECOND)
    assert.same(WINNERS, rows "PACKED")
    compress()
    assert.same(WINNERS, rows "PACKED")
    send("PACKED", FIRST)
    send("PACKED", SECOND)
    assert.same(WINNERS, rows "PACKED")
    assert.equal(0, db:number "SELECT count(*) FROM rejected_messages")
  end)

  it("keeps what it refuses, news, insights and other intervals", function()
    r:send {
      candle("BTCUSDT", T, 1, 6), candle("BTCUSDT", T, -1, 6), "[]",
      '{"symbol":"BTCUSDT","interval":"5m","kline":{"openTime":' .. T ..
      ',"open":"1","high":"2","low":"1","close":"2","volume":"3","seq":7}}',
    }
    assert.equal(2, db:number "SELECT count(*) FROM rejected_messages")
    assert.equal(1, db:number "SELECT count(*) FROM klines")
    r.broker:send_all(r.options.env.NEWS_TOPIC, { '{"url":"https://news.example/a","title":"A",' ..
      '"published_at":' .. T .. ',"symbols":["btcusdt"]}' })
    r.broker:send_all(r.options.env.INSIGHTS_TOPIC, { '{"symbol":"BTCUSDT","kind":"trend",' ..
      '"time":' .. T .. ',"summary":"It may rise.","details":{"levels":[1]}}' })
    wait.till("news and insights are stored", 30, function()
      return db:number "SELECT count(*) FROM news_sentiment" == 1
        and db:number "SELECT count(*) FROM ai_insights" == 1
    end)
    for _, path in ipairs {
      "/api/v1/news?symbol=BTCUSDT", "/api/v1/insights?symbol=BTCUSDT",
      "/v1/insights/latest/btcusdt", "/api/v1/klines?symbol=OPEN",
      "/api/v1/klines/missed?symbol=OPEN&fromSeq=1&toSeq=200",
      "/api/v1/klines?symbol=BTCUSDT&interval=5m",
    } do
      local answer = r.service:get(path)
      assert.equal(200, answer.status, answer.body)
    end
    assert.equal(1, db:number "SELECT count(*) FROM rule_generations WHERE state = 'published'")
  end)

  it("runs every statement that it prepares", function()
    local PARTS = {
      'INSERT INTO "market_klines"', 'INSERT INTO "klines"', 'INSERT INTO "news_sentiment"',
      'INSERT INTO "ai_insights"', "INSERT INTO ingest_offsets", "INSERT INTO rejected_messages",
      "INSERT INTO sequence_gaps", "ledger_move_offsets", "ledger_place_series", "ledger_widen",
      "pg_current_wal_flush_lsn", "ledger_page('market_klines'", "from market_klines",
      "from klines", "from news_sentiment", "from ai_insights",
    }
    for _, part in ipairs(PARTS) do
      assert.is_true(#prepared(part) > 0, part)
    end
    for _, statement in ipairs(prepared "") do
      assert.is_true(tonumber(statement.runs) > 0, statement.statement)
    end
  end)

  -- Runs `action` under a rule that refuses what is REDRIVE's and closes above 40.
  local function while_mistaken(action)
    local path = lua .. "/streams/market_data_v2.lua"
    local right = read(path)
    local wrong, changes = right:gsub("map = function%(k%)\n",
      '%0    if k.symbol == "REDRIVE" and k.close > 40 then return nil, "reject", "mistake" end\n')
    assert.equal(1, changes)
    local function put(text)
      write(path, text)
      local answer = assert(r.service:admin("/admin/rules/reload", { method = "POST" }))
      assert.equal(200, answer.status, answer.body)
    end
    put(wrong)
    action()
    put(right)
  end

  it("re-drives messages into compressed chunks: newer ones win, unnumbered ones fill", function()
    send("REDRIVE", { { 0, 30, 100 }, { 1, 31, 100 }, { 2, 32, nil } })
    compress()
    while_mistaken(function()
      send("REDRIVE", {
        { 0, 41, 101 }, { 1, 42, 99 }, { 2, 43, nil }, { 3, 44, nil }, { 3, 45, nil },
        { 4, 46, 105 },
      })
    end)
    assert.equal(3, #rows "REDRIVE")
    local code, output = service.run({ "redrive", "--reason", "mistake" }, {
      DATABASE_URL = db.url, MARKET_DATA_TOPIC = r.topic, MARKET_CONSUMER_GROUP_ID = r.group,
    })
    assert.equal(0, code, output)
    assert.matches('"seen":6,"stored":6', output)
    assert.same({
      { ms = "0", close = "41", sequence = "101" },
      { ms = "60000", close = "31", sequence = "100" },
      { ms = "120000", close = "32" },
      { ms = "180000", close = "45" },
      { ms = "240000", close = "46", sequence = "105" },
    }, rows "REDRIVE")
  end)

  it("writes a replay that unpacks more than TimescaleDB allows in smaller parts", function()
    local messages = {}
    for i = 1, 40 do
      for minute = 0, 49 do
        messages[#messages + 1] = candle("REPLAY" .. i, T + minute * 60000, 1, 1000 + minute)
      end
    end
    r:send(messages)
    compress()
    r.service:stop()
    local env = { DATABASE_URL = db.url
      .. "?options=-c%20timescaledb.max_tuples_decompressed_per_dml_transaction%3D300" }
    for name, value in pairs(r.options.env) do env[name] = value end
    r:start(env)
    messages = {}
    for i = 1, 40 do messages[i] = candle("REPLAY" .. i, T, 2, 2000) end
    r:send(messages)
    assert.equal(40, db:number "SELECT count(*) FROM market_klines WHERE close = 2")
    assert.equal(2000, db:number "SELECT count(*) FROM market_klines WHERE symbol LIKE 'REPLAY%'")
    assert.equal(0, db:number "SELECT count(*) FROM rejected_messages WHERE stage = 'database'")
    r.service:stop()
    r:start()
  end)

  describe("over 1,000 chunks", function()
    lazy_setup(function()
      local messages = {}
      for day = 0, 999 do
        messages[#messages + 1] = candle("DAYS", T + day * DAY, 1, 5000 + 2 * day)
        messages[#messages + 1] = candle("DAYS", T + day * DAY + 60000, 1, 5001 + 2 * day)
      end
      r:send(messages)
    end)

    local function chunks_of(plan)
      local seen, count = {}, 0
      for _, line in ipairs(plan) do
        for name in line["QUERY PLAN"]:gmatch "%f[%w_]_hyper_%d+_%d+_chunk" do
          if not seen[name] then seen[name], count = true, count + 1 end
        end
      end
      return count
    end

    -- The plan of the service's own statement for a page, with the windows that the ledger gives.
    local function plan_of_page(from, to)
      local statement = assert(prepared("from market_klines\n          where symbol")[1])
      local windows = db:rows(([[
        SELECT page_to, to_timestamp(p.from_ms[i] / 1000.0) AS f,
          to_timestamp(p.to_ms[i] / 1000.0) AS t
        FROM ledger_page('market_klines', 'DAYS', %d, %d, 3) p, generate_series(1, 3) i
        ORDER BY i]]):format(from, to))
      local values = { "'DAYS'", "'1m'", from, windows[1].page_to, 101 }
      for _, window in ipairs(windows) do
        values[#values + 1] = window.f and "'" .. window.f .. "'" or "NULL"
        values[#values + 1] = window.t and "'" .. window.t .. "'" or "NULL"
      end
      db:exec "SET plan_cache_mode = force_custom_plan"
      return db:rows(("EXPLAIN EXECUTE \"%s\" (%s)")
        :format(statement.name, table.concat(values, ", ")))
    end

    it("asks at most 3 for missed candles, and answers in full", function()
      assert.is_true(db:number "SELECT count(*) FROM show_chunks('market_klines')" >= 1000)
      for _, case in ipairs {
        { from = 5001, to = 5007, count = 6, chunks = 3 },
        { from = 5999, to = 6005, count = 6, chunks = 3 },
        { from = 6998, to = 6999, count = 1, chunks = 1 },
        { from = 5000, to = 6999, count = 5, chunks = 3, more = true },
      } do
        local answer = r:missed(("symbol=DAYS&fromSeq=%d&toSeq=%d"):format(case.from, case.to))
        assert.equal(200, answer.status, answer.body)
        assert.equal(case.count, answer.json.count, answer.body)
        assert.equal(case.more or false, answer.json.hasMore, answer.body)
        assert.is_true(answer.json.complete, answer.body)
        assert.equal(case.chunks, chunks_of(plan_of_page(case.from, case.to)))
      end
    end)

    -- How many chunks the transactions have locked that have written ranges since the last call.
    local function most_chunks_locked()
      db:exec [[
        CREATE TABLE IF NOT EXISTS chunks_locked (n bigint);
        CREATE OR REPLACE FUNCTION note_locks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          INSERT INTO chunks_locked SELECT count(DISTINCT l.relation) FROM pg_locks l
          JOIN pg_class c ON c.oid = l.relation WHERE c.relname ~ '^_hyper_\d+_\d+_chunk$';
          RETURN NULL;
        END $$;
        CREATE OR REPLACE TRIGGER note_locks AFTER INSERT OR UPDATE OR DELETE ON sequence_ranges
          FOR EACH STATEMENT EXECUTE FUNCTION note_locks()]]
      local most = db:number "SELECT max(n) FROM chunks_locked"
      db:exec "TRUNCATE chunks_locked"
      return most
    end

    local function ranges()
      return db:rows [[
        SELECT day, min_seq, max_seq, min_time, max_time FROM sequence_ranges
        WHERE table_name = 'market_klines' AND series = 'DAYS' ORDER BY day]]
    end

    it("fills an empty ledger from one chunk after the other, compressed or not", function()
      local before = ranges()
      assert.equal(1000, #before)
      db:exec "TRUNCATE sequence_ranges"
      compress "2026-09-20"
      most_chunks_locked()
      local code, output = service.run({ "rebuild-ledger" }, { DATABASE_URL = db.url }, nil, 900)
      assert.equal(0, code, output)
      assert.equal(1, most_chunks_locked())
      assert.same(before, ranges())
      assert.same({}, db:rows [[
        SELECT k.symbol, k.time FROM market_klines k WHERE k.sequence IS NOT NULL AND NOT EXISTS (
          SELECT FROM sequence_ranges r WHERE r.table_name = 'market_klines'
          AND r.series = k.symbol AND k.time BETWEEN r.min_time AND r.max_time
          AND k.sequence BETWEEN r.min_seq AND r.max_seq)]])
    end)

    it("would ask all of them without time bounds", function()
      assert.is_true(chunks_of(db:rows [[
        EXPLAIN SELECT * FROM market_klines
        WHERE symbol = 'DAYS' AND sequence > 5001 AND sequence <= 5007 AND sequence IS NOT NULL]])
        >= 1000)
    end)

    it("moves the floor behind what drop_chunks deletes", function()
      most_chunks_locked()
      db:exec "SELECT drop_chunks('market_klines', older_than => '2024-04-10'::timestamptz)"
      wait.till("the floor of DAYS has moved", 300, function()
        return db:number "SELECT floor_seq FROM sequence_bounds WHERE series = 'DAYS'" == 5199
      end)
      assert.is_true(most_chunks_locked() <= 1)
      assert.equal(900, #ranges())
      local answer = r:missed "symbol=DAYS&fromSeq=5100&toSeq=5203"
      assert.equal(200, answer.status, answer.body)
      assert.same({ { fromSeq = 5100, toSeq = 5199, reason = "expired" } }, answer.json.missing)
      assert.equal(4, answer.json.count)
    end)
  end)
end)

describe_there("the start on TimescaleDB", function()
  local server, db

  lazy_setup(function()
    server = timescale.new { directory = process.directory() .. "/data" }
    db = server.database
    migrate(db)
  end)
  lazy_teardown(function()
    if server then server:stop() end
  end)

  local function check()
    return service.run({ "check" }, { DATABASE_URL = db.url })
  end

  -- Runs the service to its end: it must be the operator's trouble.
  local function refusal()
    local code, output = service.run({}, {
      DATABASE_URL = db.url, INGEST_WORKERS = 0, PORT = ports.free(), ADMIN_PORT = ports.free(),
    })
    assert.equal(2, code, output)
    return output
  end

  it("finds that the rules fit", function()
    local code, output = check()
    assert.equal(0, code, output)
    assert.matches("fits the schema", output)
    assert.is_nil(output:find("compressed", 1, true), output)
  end)

  it("warns of a table that is compressed without its key", function()
    db:exec [[ALTER TABLE market_klines SET (timescaledb.compress,
      timescaledb.compress_segmentby = '', timescaledb.compress_orderby = 'sequence')]]
    local WARNING = "table market_klines is compressed without symbol in segmentby or orderby"
    local code, output = check()
    assert.equal(0, code, output)
    assert.is_truthy(output:find(WARNING, 1, true), output)
    local running = service.start { database = db, env = { INGEST_WORKERS = 0 } }
    running:wait_for_log(WARNING)
    running:stop()
    for _, settings in ipairs {
      "timescaledb.compress_segmentby = 'symbol'",
      "timescaledb.compress_segmentby = '', timescaledb.compress_orderby = 'symbol, time'",
    } do
      db:exec("ALTER TABLE market_klines SET (" .. settings .. ")")
      code, output = check()
      assert.equal(0, code, output)
      assert.is_nil(output:find(WARNING, 1, true), output)
    end
  end)

  it("refuses a hypertable whose unique key is another", function()
    db:exec [[ALTER TABLE market_klines SET (timescaledb.compress = false);
      ALTER TABLE market_klines DROP CONSTRAINT market_klines_pkey;
      ALTER TABLE market_klines ADD COLUMN source text, ADD UNIQUE (time, symbol, source)]]
    assert.is_truthy(refusal():find("table market_klines has no unique constraint or index on " ..
      "(time, symbol), which is its `key`; scripts/migrate applies what is missing", 1, true))
    local code, output = process.run {
      argv = { "psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", db.url,
        "--file", "migrations/000_base_schema.sql" },
    }
    assert.equal(0, code, output)
    assert.equal(0, check())
  end)

  it("refuses hypertables of an extension that is not loaded", function()
    server:stop()
    server:start()
    local code, output = check()
    assert.equal(1, code, output)
    assert.matches("klines is a hypertable, but TimescaleDB is not loaded", output)
    assert.matches("klines is a hypertable, but TimescaleDB is not loaded .* add timescaledb to " ..
      "shared_preload_libraries", refusal())
  end)
end)
