-- The ledger's upkeep: filled from rows that are there (core-service rebuild-ledger), and its floor, which follows what
-- retention deletes. Tables and columns are given by name, as the stream's `track` has them. May be applied again.

CREATE INDEX IF NOT EXISTS idx_sequence_ranges_by_day ON sequence_ranges (table_name, day);

-- The tables that hold the rows of p_table: its partitions or chunks, or itself.
CREATE OR REPLACE FUNCTION ledger_parts(p_table text) RETURNS SETOF regclass
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE part AS (
        SELECT to_regclass(p_table)::oid AS id
        UNION ALL
        SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.id
    )
    SELECT part.id::regclass FROM part JOIN pg_class c ON c.oid = part.id
    WHERE c.relkind <> 'p'
      AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = part.id)
$$;

-- An SQL expression for the name of a row's series.
CREATE OR REPLACE FUNCTION ledger_series_sql(p_by text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format('replace(%I::text, ''/'', ''//'')', c), ' || ''/'' || ' ORDER BY i)
    FROM unnest(p_by) WITH ORDINALITY AS u(c, i)
$$;

-- The newest time before p_before in one of ledger_parts(); NULL when there is none.
CREATE OR REPLACE FUNCTION ledger_newest(p_part regclass, p_time text, p_before timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
    newest timestamptz;
BEGIN
    EXECUTE format('SELECT max(%1$I) FROM %2$s WHERE %1$I < %3$L', p_time, p_part, p_before) INTO newest;
    RETURN newest;
END $$;

-- Enters the rows of one part and day (UTC) into the ranges; from the newest day to the oldest, so that days that lie over
-- one another are told apart. Series that ingest has never seen count as ingested up to their highest number. Returns how
-- many series there were.
CREATE OR REPLACE FUNCTION ledger_rebuild_day(
    p_part regclass, p_table text, p_by text[], p_sequence text, p_time text, p_day date) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    EXECUTE format($sql$
        WITH found AS (
            SELECT %1$s AS series, %2$I::bigint AS seq, %3$I AS at FROM %4$s
            WHERE %3$I >= %5$L AND %3$I < %6$L AND %2$I IS NOT NULL AND %2$I::bigint >= 0
        ), marked AS (
            SELECT r.series, r.seq, r.at,
                   CASE WHEN r.seq - lag(r.seq) OVER (PARTITION BY r.series ORDER BY r.seq) > 65536 THEN 1 ELSE 0 END AS opens
            FROM found r WHERE r.series IS NOT NULL AND octet_length(r.series) <= 255
            UNION ALL
            SELECT g.series, g.min_seq, NULL, 1 FROM sequence_ranges g
            WHERE g.table_name = %7$L AND g.day <> %8$L
              AND EXISTS (SELECT FROM found r WHERE r.series = g.series AND r.seq < g.min_seq)
              AND EXISTS (SELECT FROM found r WHERE r.series = g.series AND r.seq > g.min_seq)
        ), islands AS (
            SELECT m.*, sum(m.opens) OVER (PARTITION BY m.series ORDER BY m.seq, m.at NULLS LAST
                                           ROWS UNBOUNDED PRECEDING) AS island
            FROM marked m
        ), ranges AS (
            SELECT series, min(seq) AS min_seq, max(seq) AS max_seq, min(at) AS min_time, max(at) AS max_time
            FROM islands WHERE at IS NOT NULL GROUP BY series, island
        ), based AS (
            INSERT INTO sequence_bounds AS b (table_name, series, base_seq)
            SELECT %7$L, r.series, max(r.max_seq) FROM ranges r
            WHERE NOT EXISTS (SELECT FROM sequence_series s WHERE s.table_name = %7$L AND s.series = r.series)
            GROUP BY r.series ORDER BY r.series
            ON CONFLICT (table_name, series) DO UPDATE SET base_seq = greatest(b.base_seq, EXCLUDED.base_seq)
        ), widened AS (
            SELECT ledger_widen(array_agg(%7$L::text), array_agg(series), array_agg(%8$L::date), array_agg(min_seq),
                                array_agg(max_seq), array_agg(min_time), array_agg(max_time))
            FROM ranges
        )
        SELECT count(DISTINCT r.series) FROM ranges r, widened
    $sql$, ledger_series_sql(p_by), p_sequence, p_time, p_part, p_day::timestamp AT TIME ZONE 'UTC',
        (p_day + 1)::timestamp AT TIME ZONE 'UTC', p_table, p_day) INTO n;
    RETURN n;
END $$;

-- Moves the floor of a table's series behind what is no longer there, oldest day first, up to the first day that still has
-- all its rows: days without any row expire, and of a day that has lost its beginning the numbers below the lowest that is
-- left. Rows are looked for by time, so a day that no partition covers costs nothing. One caller at a time works, the others
-- get NULL. Returns how many ranges have expired.
CREATE OR REPLACE FUNCTION ledger_move_floor(p_table text, p_by text[], p_sequence text, p_time text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    days_max CONSTANT int := 100; -- of one call
    expired bigint := 0;
    touched bigint;
    oldest date;
    begins timestamptz;
    first_row timestamptz;
    first_range timestamptz;
BEGIN
    IF to_regclass(p_table) IS NULL OR NOT pg_try_advisory_xact_lock(hashtextextended('ledger_move_floor ' || p_table, 0)) THEN
        RETURN NULL;
    END IF;
    FOR i IN 1 .. days_max LOOP
        SELECT g.day INTO oldest FROM sequence_ranges g WHERE g.table_name = p_table ORDER BY g.day LIMIT 1;
        EXIT WHEN oldest IS NULL;
        begins := oldest::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('SELECT min(%1$I) FROM %2$s WHERE %1$I >= %3$L AND %1$I < %4$L', p_time, to_regclass(p_table),
                       begins, (oldest + 1)::timestamp AT TIME ZONE 'UTC') INTO first_row;
        SELECT min(g.min_time) INTO first_range FROM sequence_ranges g WHERE g.table_name = p_table AND g.day = oldest;
        EXIT WHEN first_row <= first_range;
        touched := ledger_expire_day(p_table, p_by, p_sequence, p_time, oldest);
        expired := expired + touched;
        EXIT WHEN first_row IS NOT NULL;
    END LOOP;
    RETURN expired;
END $$;

-- The part of ledger_move_floor() for one day. A number that came late, when later days had gone on already, becomes a gap.
CREATE OR REPLACE FUNCTION ledger_expire_day(p_table text, p_by text[], p_sequence text, p_time text, p_day date)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    g record;
    expired bigint := 0;
    gone_to bigint; -- up to here the range's numbers are gone
BEGIN
    FOR g IN EXECUTE format($sql$
        WITH left_over AS (
            SELECT %1$s AS series, min(%2$I::bigint) AS min_seq, min(%3$I) AS min_time FROM %4$s
            WHERE %3$I >= %5$L AND %3$I < %6$L GROUP BY 1
        )
        SELECT r.series, r.min_seq, r.max_seq, l.min_seq AS left_seq, l.min_time AS left_time,
               coalesce(l.min_seq <= r.max_seq AND l.min_time <= r.max_time, false) AS is_left
        FROM sequence_ranges r LEFT JOIN left_over l USING (series)
        WHERE r.table_name = %7$L AND r.day = %8$L AND (l.min_time IS NULL OR l.min_time > r.min_time)
        ORDER BY r.series, r.min_seq FOR UPDATE OF r
    $sql$, ledger_series_sql(p_by), p_sequence, p_time, to_regclass(p_table), p_day::timestamp AT TIME ZONE 'UTC',
        (p_day + 1)::timestamp AT TIME ZONE 'UTC', p_table, p_day)
    LOOP
        IF g.is_left THEN
            gone_to := g.left_seq - 1;
            UPDATE sequence_ranges r
            SET min_seq = greatest(r.min_seq, g.left_seq), min_time = greatest(r.min_time, g.left_time)
            WHERE r.table_name = p_table AND r.series = g.series AND r.day = p_day AND r.min_seq = g.min_seq;
        ELSE
            gone_to := g.max_seq;
            DELETE FROM sequence_ranges r
            WHERE r.table_name = p_table AND r.series = g.series AND r.day = p_day AND r.min_seq = g.min_seq;
            expired := expired + 1;
        END IF;
        CONTINUE WHEN gone_to < g.min_seq;
        IF EXISTS (SELECT FROM sequence_ranges r
                   WHERE r.table_name = p_table AND r.series = g.series AND r.day > p_day AND r.min_seq < g.min_seq) THEN
            -- a late candle of an old day: lower numbers are still there, so it is no floor
            INSERT INTO sequence_gaps (table_name, series, group_id, topic, partition, from_seq, to_seq, reason)
            VALUES (p_table, g.series, '', '', -1, g.min_seq - 1, gone_to, 'expired');
        ELSE
            INSERT INTO sequence_bounds AS b (table_name, series, floor_seq) VALUES (p_table, g.series, gone_to)
            ON CONFLICT (table_name, series) DO UPDATE SET floor_seq = greatest(b.floor_seq, EXCLUDED.floor_seq);
        END IF;
    END LOOP;
    RETURN expired;
END $$;

-- A database that is taken over: what its plain tables hold is entered here when it is little; else the command does it,
-- beside running ingest. What is in the ledger already is left alone.
DO $migration$
DECLARE
    rows_max CONSTANT bigint := 1000000;
    target record;
    n bigint;
    day date;
    newest timestamptz;
BEGIN
    FOR target IN
        SELECT * FROM (VALUES ('market_klines', ARRAY['symbol']), ('klines', ARRAY['symbol', 'interval'])) AS t(name, columns)
        WHERE EXISTS (SELECT FROM pg_attribute a
                      WHERE a.attrelid = to_regclass(t.name) AND a.attname = 'sequence' AND NOT a.attisdropped)
          AND NOT EXISTS (SELECT FROM sequence_ranges g WHERE g.table_name = t.name)
    LOOP
        IF NOT ledger_is_plain(target.name) THEN
            n := rows_max + 1;
        ELSE
            EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE sequence IS NOT NULL LIMIT %s) AS few',
                           target.name, rows_max + 1) INTO n;
        END IF;
        IF n > rows_max THEN
            RAISE NOTICE 'what % holds is not in the ledger yet: run core-service rebuild-ledger', target.name;
            CONTINUE;
        END IF;
        newest := ledger_newest(to_regclass(target.name), 'time', 'infinity');
        WHILE n > 0 AND newest IS NOT NULL LOOP
            day := (newest AT TIME ZONE 'UTC')::date;
            PERFORM ledger_rebuild_day(to_regclass(target.name), target.name, target.columns, 'sequence', 'time', day);
            newest := ledger_newest(to_regclass(target.name), 'time', day::timestamp AT TIME ZONE 'UTC');
        END LOOP;
    END LOOP;
END
$migration$;
