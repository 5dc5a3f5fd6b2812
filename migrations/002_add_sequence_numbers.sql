-- Sequence numbers: klines gets its column, sequence_tracker and get_next_sequence() hand out numbers where the producer
-- gives none. May be applied again; without klines (000_base_schema.sql makes it) only the tracker is made.
DO $migration$
BEGIN
    PERFORM set_config('client_min_messages', 'warning', true);
    IF to_regclass('klines') IS NULL THEN
        RAISE WARNING 'there is no table klines: apply 000_base_schema.sql, then this file again';
    ELSIF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
       AND NOT EXISTS (SELECT FROM pg_settings WHERE name LIKE 'timescaledb.%') THEN
        RAISE EXCEPTION 'table klines: TimescaleDB is installed here but not loaded; nothing was changed'
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Add timescaledb to shared_preload_libraries, restart PostgreSQL, then apply this migration again.';
    ELSE
        ALTER TABLE klines ADD COLUMN IF NOT EXISTS sequence BIGINT;
        CREATE INDEX IF NOT EXISTS idx_klines_symbol_sequence
            ON klines (symbol, sequence) WHERE sequence IS NOT NULL;
    END IF;

    CREATE TABLE IF NOT EXISTS sequence_tracker (
        id SERIAL PRIMARY KEY,
        last_sequence BIGINT NOT NULL DEFAULT 0,
        updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
    );
    INSERT INTO sequence_tracker (last_sequence)
    SELECT 0 WHERE NOT EXISTS (SELECT FROM sequence_tracker);
END
$migration$;

-- The row's lock makes it atomic: two callers never get the same number. One that rolls back gives its number back.
CREATE OR REPLACE FUNCTION get_next_sequence() RETURNS BIGINT
LANGUAGE sql AS $function$
    UPDATE sequence_tracker
    SET last_sequence = last_sequence + 1, updated_at = CURRENT_TIMESTAMP
    WHERE id = (SELECT min(id) FROM sequence_tracker)
    RETURNING last_sequence
$function$;
