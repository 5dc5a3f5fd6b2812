-- market_klines partitioned by day in a thousand parts: where a question that names no times locks
-- three thousand relations, and a few clients at once use up PostgreSQL's table of locks.
local service = require "spec.support.service"

local parted = {
  FIRST_DAY = 19000, -- since 1970
  DAYS = 1000,
  SYMBOL = "BTCUSDT",
}

local A_DAY = 20 -- candles
local STEP = 5   -- from number to number

parted.HIGHEST = parted.DAYS * A_DAY * STEP

local LAST_DAY = parted.FIRST_DAY + parted.DAYS - 1

-- The migrated, empty table becomes one with partitions.
function parted.split(db)
  db:exec [[
    ALTER TABLE market_klines RENAME TO old;
    CREATE TABLE market_klines (LIKE old) PARTITION BY RANGE (time);
    DROP TABLE old;
    ALTER TABLE market_klines ADD PRIMARY KEY (time, symbol);
    CREATE INDEX idx_market_klines_symbol_sequence ON market_klines (symbol, sequence)
      WHERE sequence IS NOT NULL]]
  for from = parted.FIRST_DAY, LAST_DAY, 100 do
    db:exec(([[
      DO $do$ BEGIN
        FOR d IN %d .. %d LOOP
          EXECUTE format('CREATE TABLE market_klines_%%s PARTITION OF market_klines
            FOR VALUES FROM (%%L) TO (%%L)', d, '1970-01-01'::date + d, '1970-01-01'::date + d + 1);
        END LOOP;
      END $do$]]):format(from, math.min(from + 99, LAST_DAY)))
  end
end

-- Candles of one symbol in every part, all of them ingested, and the ledger that belongs to them.
function parted.fill(db)
  db:exec(([[
    INSERT INTO market_klines
      SELECT '1970-01-01Z'::timestamptz + (%d + (n - 1) / %d) * interval '1 day'
          + (n - 1) %% %d * interval '1 min',
        '%s', 1, 4, 0.5, 2, 10.5, n * %d
      FROM generate_series(1, %d) n;
    INSERT INTO ingest_offsets (group_id, topic, partition, next_offset, max_sequence)
      VALUES ('core-service-market-consumer', 'market_data', 0, 1, %d);
    ANALYZE market_klines]]):format(parted.FIRST_DAY, A_DAY, A_DAY, parted.SYMBOL, STEP,
    parted.DAYS * A_DAY, parted.HIGHEST))
  local code, output = service.run({ "rebuild-ledger" }, { DATABASE_URL = db.url }, nil, 120)
  assert(code == 0, output)
end

-- How many candles have a number above `from` and up to `to`.
function parted.count(from, to)
  return math.floor(math.min(to, parted.HIGHEST) / STEP) - math.floor(from / STEP)
end

-- The most parts that one statement of the API has locked at this moment.
function parted.most_locked(db)
  return db:number [[
    SELECT coalesce(max(n), 0) FROM (
      SELECT count(*) AS n
      FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        JOIN pg_stat_activity a ON a.pid = l.pid
      WHERE c.relkind = 'r' AND c.relispartition AND a.application_name LIKE 'core-service http/%'
      GROUP BY l.pid) one]]
end

return parted
