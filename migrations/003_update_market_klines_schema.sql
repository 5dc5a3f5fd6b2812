-- market_klines: the global sequence number of the update that a row holds, and the index that finds rows by it.
-- May be applied again. Making the index holds up writers of a large table for as long as it takes.
DO $migration$
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true);
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       AND NOT EXISTS (SELECT FROM pg_settings WHERE name LIKE 'timescaledb.%') THEN
        RAISE EXCEPTION 'table market_klines: TimescaleDB is installed here but not loaded; nothing was changed'
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Add timescaledb to shared_preload_libraries, restart PostgreSQL, then apply this migration again.';
    END IF;

    ALTER TABLE market_klines ADD COLUMN IF NOT EXISTS sequence BIGINT;
    CREATE INDEX IF NOT EXISTS idx_market_klines_symbol_sequence
        ON market_klines (symbol, sequence) WHERE sequence IS NOT NULL;
END
$migration$;
