-- docs/PHASE2_DEPLOYMENT.md, done as it stands there: from the original, on tables that it may have
-- made, to this service, and all the way back.
local markdown = require "spec.support.markdown"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local road = require "spec.support.road"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local PAGE = "docs/PHASE2_DEPLOYMENT.md"
local GROUP = "core-service-market-consumer"
local T = 1704067200000

local ORIGINAL = [[
  CREATE TABLE market_klines (
    time TIMESTAMPTZ NOT NULL, symbol TEXT NOT NULL,
    open NUMERIC, high NUMERIC, low NUMERIC, close NUMERIC, volume NUMERIC,
    UNIQUE (time, symbol));
  CREATE TABLE klines (
    symbol TEXT NOT NULL, "interval" TEXT NOT NULL, time TIMESTAMPTZ NOT NULL,
    open NUMERIC, high NUMERIC, low NUMERIC, close NUMERIC, volume NUMERIC,
    UNIQUE (symbol, "interval", time));
]]

-- What stands in for Kafka's tool: it writes and reads its file, the spec does the rest.
local GROUPS_TOOL = [[#!/bin/sh
case " $* " in
  *" --to-current --dry-run --export ") cat "$0.current" ;;
  *" --reset-offsets --from-file "*" --execute ")
    while [ "$1" != --from-file ]; do shift; done
    cp "$2" "$0.wanted" ;;
  *) exit 64 ;;
esac
]]

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- The i-th message: an update of one of 40 candles.
local function message(i)
  return ('{"symbol":"BTCUSDT","interval":"1m","seq":%d,"kline":{"openTime":%d,' ..
    '"open":"50000.10","high":"60000.00","low":"40000","close":"50000.%03d0","volume":"1.50"}}')
    :format(i, T + (i % 40) * 60000, i)
end

local function messages(from, to)
  local all = {}
  for i = from, to do
    all[#all + 1] = message(i)
  end
  return all
end

local COLUMNS = "time, symbol, open, high, low, close, volume"

-- Rows as text, with every digit.
local function rows(database, columns)
  local lines = {}
  for i, row in ipairs(database:rows(("SELECT (%s)::text AS line FROM market_klines ORDER BY time")
    :format(columns))) do
    lines[i] = row.line
  end
  return lines
end

local function columns_of(database)
  return database:value [[
    SELECT string_agg(table_name || '.' || column_name || ' ' || data_type, ', '
                      ORDER BY table_name, ordinal_position)
    FROM information_schema.columns WHERE table_name IN ('market_klines', 'klines')]]
end

describe(PAGE, function()
  local r, directory, tool
  local before -- tables when the original was stopped

  -- The original stores messages and commits after them.
  local function be_the_original(from, to)
    for i = from, to do
      r.database:exec((("INSERT INTO market_klines (%s) VALUES (to_timestamp(%d), 'BTCUSDT', " ..
        "50000.10, 60000.00, 40000, 50000.%03d0, 1.50) ON CONFLICT (time, symbol) DO UPDATE SET " ..
        "close = EXCLUDED.close"):format(COLUMNS, (T + (i % 40) * 60000) / 1000, i)))
    end
    r.broker:commit(r.group, r.topic, 0, to + 1)
  end

  local function page_text(text)
    return (text:gsub("localhost:8000", "127.0.0.1:" .. (r.service and r.service.port or 0))
      :gsub("localhost:8001", "127.0.0.1:" .. (r.service and r.service.admin_port or 0))
      :gsub(GROUP:gsub("%p", "%%%0"), r.group))
  end

  local function run_block(block)
    local env = {
      PATH = directory .. "/bin:" .. os.getenv "PATH", KAFKA_BROKERS = r.broker.bootstrap,
    }
    for name, value in pairs(r.service and r.service.env or {}) do
      env[name] = name == "PATH" and env.PATH or value
    end
    env.LUA_DIR, env.DATABASE_URL = nil, r.database.url
    local code, output = process.run {
      argv = { "bash", "-euo", "pipefail", "-c",
        (page_text(block.text):gsub("curl %-s", "curl -sS --fail")) },
      env = env, directory = directory, seconds = 60,
    }
    assert.equal(0, code, ("%s, line %d:\n%s"):format(PAGE, block.line, output))
    return output
  end

  local function bash_blocks(chapter)
    local found = {}
    for _, block in ipairs(markdown.blocks(PAGE, chapter)) do
      if block.language == "bash" then
        found[#found + 1] = block
      end
    end
    return found
  end

  local function run_chapter(chapter)
    local output = {}
    for i, block in ipairs(bash_blocks(chapter)) do
      output[i] = run_block(block)
    end
    return output
  end

  local function install_program()
    local here, program = unistd.getcwd(), os.getenv "CORE_SERVICE" or "build/core-service"
    assert(os.execute(("mkdir %s/bin && cp -r lua %s/lua"):format(directory, directory)) == 0)
    assert(unistd.link(here .. "/scripts/migrate", directory .. "/bin/core-service-migrate", true))
    assert(unistd.link(program:find "^/" and program or here .. "/" .. program,
      directory .. "/bin/core-service", true))
    write(tool, GROUPS_TOOL)
    assert(os.execute("chmod 755 " .. tool) == 0)
  end

  lazy_setup(function()
    directory = process.directory()
    tool = directory .. "/bin/kafka-consumer-groups.sh"
    install_program()
    local database = postgres.shared():database "rollback"
    database:exec(ORIGINAL)
    r = road.open { database = database, start = false, env = { LUA_DIR = directory .. "/lua" } }
    r.group = "rollback-" .. r.topic -- the original must be alone in it
    r.broker:send_all(r.topic, messages(0, 149))
    be_the_original(0, 99)
    before = { rows = rows(database, COLUMNS), columns = columns_of(database) }
  end)
  lazy_teardown(function()
    r:close()
    r.database:drop()
  end)

  it("1. backs up tables and offsets", function()
    write(tool .. ".current", r.topic .. ",0,100\n")
    run_chapter "Back up"
    local backup = read(directory .. "/backup_before_phase2.sql")
    assert.is_truthy(backup:find "COPY public.market_klines")
  end)

  it("2. migrates, and the original's types are fine", function()
    local output = run_chapter "Migrate"
    assert.is_truthy(output[1]:find("fits the schema", 1, true), output[1])
    assert.same(before.rows, rows(r.database, COLUMNS))
  end)

  it("3. takes over where the original had committed", function()
    r:start()
    r:wait_ingested()
    assert.is_truthy(r.service:text():find("goes on at offset 100 (new to PostgreSQL, from Kafka)",
      1, true))
    run_chapter "Switch"
    -- messages 110 to 149 are the last of the 40 candles, with every digit that came
    for i, line in ipairs(rows(r.database, "close, sequence")) do
      local last = 110 + (i - 1 - 110) % 40
      assert.equal(("(50000.%03d0,%d)"):format(last, last), line)
    end
    assert.equal(40, r.database:number "SELECT count(*) FROM market_klines")
  end)

  it("4. is verified", function()
    local output = run_chapter "Verify"
    assert.is_truthy(output[1]:find("149", 1, true), output[1])
    assert.equal(0, r.database:number "SELECT count(*) FROM rejected_messages")
  end)

  it("5. behaves as the original did after one edited line", function()
    local blocks = bash_blocks "Roll back"
    local generation = r.service:metric "core_service_rules_generation"
    run_block(blocks[1])
    wait.till("the edited rules run", 10, function()
      return r.service:metric "core_service_rules_generation" > generation
    end)
    -- an older number, later: the original takes it, and sequences stay as they are
    r:send { (message(30):gsub("50000%.0300", "51111.5")) }
    assert.equal("(51111.5,110)", r.database:value [[
      SELECT (close, sequence)::text AS line FROM market_klines
      WHERE time = to_timestamp(1704067200 + 30 * 60)]])
  end)

  it("6. leaves the original's offsets where its rows end", function()
    r.service:stop()
    assert.equal(151, r.broker:committed(r.group, r.topic, 0))
    be_the_original(151, 152)
  end)

  it("7. puts tables and offsets back to where they were", function()
    r.service = nil
    local blocks = bash_blocks "Roll back"
    assert.equal(3, #blocks)
    run_block(blocks[2])
    run_block(blocks[3])
    assert.same(before.rows, rows(r.database, COLUMNS))
    assert.equal(before.columns, columns_of(r.database))
    local topic, offset = read(tool .. ".wanted"):match "^(%S+),0,(%d+)\n$"
    r.broker:commit(r.group, topic, 0, tonumber(offset))
    assert.equal(100, r.broker:committed(r.group, r.topic, 0))
  end)

  it("8. can be switched again, from there", function()
    assert(os.execute(("rm -r %s/lua && cp -r lua %s/lua"):format(directory, directory)) == 0)
    run_chapter "Migrate"
    r:start()
    r:wait_ingested()
    assert.equal("149", r.database:value "SELECT max(sequence) AS newest FROM market_klines")
    assert.is_truthy(r.service:text():find("goes on at offset 100 (new to PostgreSQL, from Kafka)",
      1, true))
    r.service:stop()
  end)
end)
