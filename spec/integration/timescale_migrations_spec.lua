-- The migrations on TimescaleDB itself: on an empty database, on those that the original made, on
-- compressed chunks, and on what they must refuse.
local process = require "spec.support.process"
local timescale = require "spec.support.timescale"

-- All of them, in order.
local function files()
  local list, found = {}, io.popen "ls migrations/*.sql"
  for path in found:lines() do
    list[#list + 1] = path
  end
  found:close()
  return list
end

local function run(argv, database)
  return process.run {
    argv = argv, env = { PATH = os.getenv "PATH", DATABASE_URL = database.url }, seconds = 60,
  }
end

local function psql(database, ...)
  return run({ "psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", database.url, ... },
    database)
end

local function migrate(database)
  return run({ "scripts/migrate" }, database)
end

local function migrate_alone(database)
  for _, path in ipairs(files()) do
    local code, output = psql(database, "--file", path)
    assert.equal(0, code, output)
  end
end

-- What tables, columns, types, indexes and chunks there are.
local function schema_of(database)
  return database:rows [[
    SELECT table_schema AS a, table_name AS b, column_name AS c, data_type AS d
    FROM information_schema.columns WHERE table_schema IN ('public', '_timescaledb_internal')
    UNION ALL SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname IN ('public', '_timescaledb_internal') ORDER BY 1, 2, 3, 4]]
end

-- Where there is no TimescaleDB, scripts/test says so.
local describe_there = timescale.is_there() and describe or pending

describe_there("migrations on TimescaleDB", function()
  local server, db

  local function drop_tables()
    db:exec [[
      DO $$ DECLARE t record; BEGIN
        FOR t IN SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' LOOP
          EXECUTE format('DROP TABLE %I CASCADE', t.name);
        END LOOP;
      END $$]]
  end

  lazy_setup(function()
    server = timescale.new()
    db = server.database
  end)
  lazy_teardown(function()
    if server then server:stop() end
  end)
  before_each(drop_tables)

  local function chunk_days(name)
    return db:value(("SELECT time_interval FROM timescaledb_information.dimensions " ..
      "WHERE hypertable_name = '%s'"):format(name))
  end

  local function types_of(name)
    local types = {}
    for _, row in ipairs(db:rows(([[
      SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '%s']])
      :format(name))) do
      types[row.column_name] = row.data_type
    end
    return types
  end

  local function assert_hypertables()
    assert.equal("1 day", chunk_days "market_klines")
    assert.equal("1 day", chunk_days "klines")
    assert.equal(2, db:number "SELECT count(*) FROM timescaledb_information.hypertables")
  end

  -- As the original had it.
  local function original(options)
    db:exec(([[
      CREATE TABLE market_klines (
        time timestamptz NOT NULL, symbol text NOT NULL, open numeric, high numeric, low numeric,
        close numeric, volume numeric%s)]])
      :format(options.key and (", UNIQUE (" .. options.key .. ")") or ""))
    if options.hypertable then
      db:exec(("SELECT create_hypertable('market_klines', '%s')"):format(options.hypertable))
    end
    db:exec [[
      INSERT INTO market_klines
      SELECT '2024-01-01'::timestamptz + n * interval '1 hour', 'S' || s, 1.10, 2, 1, 1.50, 3
      FROM generate_series(1, 400) n, generate_series(1, 3) s]]
  end

  local function compress()
    db:exec [[
      ALTER TABLE market_klines SET (timescaledb.compress,
        timescaledb.compress_segmentby = 'symbol', timescaledb.compress_orderby = 'time DESC');
      SELECT compress_chunk(c) FROM show_chunks('market_klines') c]]
  end

  local function compressed_chunks()
    return db:number [[
      SELECT count(*) FROM timescaledb_information.chunks
      WHERE hypertable_name = 'market_klines' AND is_compressed]]
  end

  it("make hypertables with chunks of one day by scripts/migrate, and nothing the second time",
    function()
      local code, output = migrate(db)
      assert.equal(0, code, output)
      assert.is_nil(output:find("WARNING", 1, true), output)
      assert_hypertables()
      local before = schema_of(db)
      code, output = migrate(db)
      assert.equal(0, code, output)
      assert.is_nil(output:find("applied", 1, true), output)
      assert.same(before, schema_of(db))
    end)

  it("make the same one by one with psql, and nothing the second time", function()
    migrate_alone(db)
    assert_hypertables()
    local before = schema_of(db)
    migrate_alone(db)
    assert.same(before, schema_of(db))
  end)

  it("leave what the specification tells operators to look at", function()
    migrate_alone(db)
    local code, output = psql(db, "--command", "\\d market_klines")
    assert.equal(0, code, output)
    assert.matches("sequence%s+| bigint", output)
    assert.matches('"market_klines_pkey" PRIMARY KEY, btree %("time", symbol%)', output)
    assert.matches('"idx_market_klines_symbol_sequence" btree %(symbol, sequence%) ' ..
      "WHERE sequence IS NOT NULL", output)

    db:exec [[
      INSERT INTO market_klines
      SELECT '2024-01-01'::timestamptz + n * interval '1 min', 'BTCUSDT', 1, 2, 1, 2, 3,
        CASE WHEN n % 2 = 0 THEN n END
      FROM generate_series(1, 4000) n;
      ANALYZE market_klines]]
    assert.same({ { symbol = "BTCUSDT", total_records = "4000", with_sequence = "2000",
      min_seq = "2", max_seq = "4000" } }, db:rows [[
      SELECT symbol, COUNT(*) as total_records, COUNT(sequence) as with_sequence,
        MIN(sequence) as min_seq, MAX(sequence) as max_seq
      FROM market_klines GROUP BY symbol]])
    assert.same({ { symbol = "BTCUSDT", gap_count = "1999" } }, db:rows [[
      SELECT symbol, MAX(sequence) - MIN(sequence) + 1 - COUNT(*) as gap_count
      FROM market_klines WHERE sequence IS NOT NULL GROUP BY symbol]])
    assert.equal("4000", db:rows([[
      SELECT symbol, sequence, time FROM market_klines WHERE sequence IS NOT NULL
      ORDER BY sequence DESC LIMIT 10]])[1].sequence)
    local plan = {}
    for _, row in ipairs(db:rows [[
      EXPLAIN ANALYZE SELECT * FROM market_klines WHERE symbol = 'BTCUSDT'
      AND sequence > 100 AND sequence <= 150 AND sequence IS NOT NULL]]) do
      plan[#plan + 1] = row["QUERY PLAN"]
    end
    assert.matches("Index Scan using [%w_]*idx_market_klines_symbol_sequence",
      table.concat(plan, "\n"))
  end)

  it("keep the original's hypertable: its types, its rows, its size of chunks", function()
    original { key = "time, symbol", hypertable = "time" }
    for _ = 1, 2 do
      local code, output = migrate(db)
      assert.equal(0, code, output)
    end
    migrate_alone(db)
    local types = types_of "market_klines"
    assert.equal("text", types.symbol)
    assert.equal("numeric", types.close)
    assert.equal("bigint", types.sequence)
    assert.equal(1200, db:number "SELECT count(*) FROM market_klines")
    assert.equal("7 days", chunk_days "market_klines")
    assert.equal(1, db:number [[
      SELECT count(*) FROM pg_indexes
      WHERE tablename = 'market_klines' AND indexdef LIKE '%UNIQUE%']])
  end)

  it("leave the original's plain table with rows plain, and say what makes it a hypertable",
    function()
      original { key = "time, symbol" }
      local code, output = migrate(db)
      assert.equal(0, code, output)
      assert.matches("table market_klines has rows and stays a plain table", output)
      assert.is_nil(chunk_days "market_klines")
      assert.equal("1 day", chunk_days "klines")
      local advice = output:match "HINT:%s+(SELECT create_hypertable.-) makes it a hypertable"
      assert.is_string(advice, output)
      db:exec(advice)
      assert.equal("1 day", chunk_days "market_klines")
      assert.equal(1200, db:number "SELECT count(*) FROM market_klines")
    end)

  it("add what is missing to compressed chunks, which stay compressed", function()
    original { key = "time, symbol", hypertable = "time" }
    compress()
    local chunks = compressed_chunks()
    assert.is_true(chunks >= 3)
    for _ = 1, 2 do
      local code, output = migrate(db)
      assert.equal(0, code, output)
    end
    migrate_alone(db)
    assert.equal(chunks, compressed_chunks())
    assert.equal(1200, db:number "SELECT count(*) FROM market_klines WHERE sequence IS NULL")
    db:exec [[
      INSERT INTO market_klines VALUES ('2024-01-01 01:00', 'S2', 1, 1, 1, 9, 1, 77)
      ON CONFLICT (time, symbol) DO UPDATE
        SET close = EXCLUDED.close, sequence = EXCLUDED.sequence]]
    assert.equal(1200, db:number "SELECT count(*) FROM market_klines")
    assert.same({ { close = "9", sequence = "77", volume = "3" } }, db:rows [[
      SELECT close, sequence, volume FROM market_klines
      WHERE time = '2024-01-01 01:00' AND symbol = 'S2']])
  end)

  it("make the conflict target of compressed chunks that lack it", function()
    original { hypertable = "time" }
    compress()
    local code, output = migrate(db)
    assert.equal(0, code, output)
    db:exec [[
      INSERT INTO market_klines VALUES ('2024-01-01 01:00', 'S2', 1, 1, 1, 9, 1, 77)
      ON CONFLICT (time, symbol) DO NOTHING]]
    assert.equal(1200, db:number "SELECT count(*) FROM market_klines")
  end)

  -- Fails, by scripts/migrate and by psql, with a message that holds each of `words`, and changes
  -- nothing.
  local function assert_refused(words)
    local before = schema_of(db)
    for _, attempt in ipairs { migrate, function()
      return psql(db, "--file", "migrations/000_base_schema.sql")
    end } do
      local code, output = attempt(db)
      assert.is_true(code ~= 0, output)
      for _, word in ipairs(words) do
        assert.is_truthy(output:find(word, 1, true), output)
      end
      db:exec "DROP TABLE IF EXISTS schema_migrations"
      assert.same(before, schema_of(db))
    end
  end

  it("refuse a hypertable that is not partitioned by the conflict target's columns", function()
    db:exec [[
      CREATE TABLE market_klines (
        time timestamptz NOT NULL, symbol text NOT NULL, open numeric, high numeric, low numeric,
        close numeric, volume numeric, stored_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (time, symbol, stored_at));
      SELECT create_hypertable('market_klines', 'stored_at')]]
    assert_refused { "table market_klines cannot have a unique constraint on", "stored_at",
      "move the rows of market_klines into a table that is" }
  end)

  it("refuse a hypertable whose time is a number", function()
    db:exec [[
      CREATE TABLE market_klines (
        time bigint NOT NULL, symbol text NOT NULL, PRIMARY KEY (time, symbol));
      SELECT create_hypertable('market_klines', 'time', chunk_time_interval => 86400000)]]
    assert_refused { "table market_klines: column time is bigint",
      "Move the rows of market_klines into a table whose time is TIMESTAMPTZ" }
  end)

  it("refuse rows that are there twice in compressed chunks", function()
    original { hypertable = "time" }
    db:exec "INSERT INTO market_klines SELECT * FROM market_klines LIMIT 1"
    compress()
    assert_refused { "table market_klines has several rows with the same",
      "Keep one row of each" }
  end)
end)

describe_there("migrations where TimescaleDB is installed but not loaded", function()
  local server

  lazy_setup(function()
    server = timescale.new { directory = process.directory() .. "/data" }
  end)
  lazy_teardown(function()
    if server then server:stop() end
  end)

  it("fail before they change anything, and name the tables and the setting", function()
    local db = server.database
    db:exec [[
      CREATE TABLE market_klines (time timestamptz NOT NULL, symbol text NOT NULL,
        UNIQUE (time, symbol));
      CREATE TABLE klines (time timestamptz NOT NULL, symbol text NOT NULL);
      SELECT create_hypertable('market_klines', 'time'), create_hypertable('klines', 'time')]]
    server:stop()
    server:start()
    local before = schema_of(db)
    for file, name in pairs {
      ["000_base_schema"] = "tables market_klines and klines",
      ["002_add_sequence_numbers"] = "table klines",
      ["003_update_market_klines_schema"] = "table market_klines",
    } do
      local code, output = psql(db, "--file", "migrations/" .. file .. ".sql")
      assert.is_true(code ~= 0, output)
      assert.is_truthy(output:find(name, 1, true), output)
      assert.matches("TimescaleDB is installed here but not loaded", output)
      assert.matches("Add timescaledb to shared_preload_libraries", output)
      assert.same(before, schema_of(db))
    end
  end)
end)
