-- The ledger: what was accepted, where it lies, what is missing. Written by ingest in the transaction of each batch;
-- read by the functions ledger_missing(), ledger_page() and ledger_ends().
--
-- A series is one value of a table's `track.by` columns, as text: "BTCUSDT", "BTCUSDT/5m" ('/' in a value is doubled).
-- Bounds of numbers are as in the API: from_seq exclusive, to_seq inclusive.

-- Progress of a partition whose stream numbers globally: the highest number read, whatever series it was for; up to where a
-- partition that was read to its end and is quiet holds nothing back; why a loss whose number is unknown is open (it ends
-- at the next number).
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS max_sequence bigint;
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS clear_to bigint;
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS hole text;
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS hole_table text; -- the series that it is of; NULL: any
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS hole_series text;

-- Which partitions carry a series; max_seq with dense numbering only: the highest number of this series read there.
CREATE TABLE IF NOT EXISTS sequence_series (
    table_name text   NOT NULL,
    series     text   NOT NULL,
    group_id   text   NOT NULL,
    topic      text   NOT NULL,
    partition  int    NOT NULL,
    max_seq    bigint,
    PRIMARY KEY (table_name, series, group_id, topic, partition)
) WITH (fillfactor = 70); -- dense ones are updated with every batch: room for it on the same page

-- Which times hold which numbers. A number far from every range of its day opens another range.
CREATE TABLE IF NOT EXISTS sequence_ranges (
    table_name text        NOT NULL,
    series     text        NOT NULL,
    day        date        NOT NULL, -- UTC
    min_seq    bigint      NOT NULL,
    max_seq    bigint      NOT NULL,
    min_time   timestamptz NOT NULL,
    max_time   timestamptz NOT NULL,
    PRIMARY KEY (table_name, series, day, min_seq)
) WITH (fillfactor = 70); -- today's are updated with every batch
CREATE INDEX IF NOT EXISTS idx_sequence_ranges_by_seq ON sequence_ranges (table_name, series, min_seq);

-- What is known to be missing: of one series, or (series NULL) of every series that the partition carries.
CREATE TABLE IF NOT EXISTS sequence_gaps (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text,
    series     text,
    group_id   text        NOT NULL,
    topic      text        NOT NULL,
    partition  int         NOT NULL,
    from_seq   bigint      NOT NULL,
    to_seq     bigint      NOT NULL,
    reason     text        NOT NULL CHECK (reason IN ('rejected', 'never_received', 'lost', 'expired')),
    seen_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (from_seq < to_seq),
    CHECK ((table_name IS NULL) = (series IS NULL))
);
CREATE INDEX IF NOT EXISTS idx_sequence_gaps_series
    ON sequence_gaps (table_name, series, to_seq) WHERE series IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_sequence_gaps_partition
    ON sequence_gaps (group_id, topic, partition, to_seq) WHERE series IS NULL;

-- Up to floor_seq retention has deleted; up to base_seq everything counts as ingested (rows older than the ledger).
CREATE TABLE IF NOT EXISTS sequence_bounds (
    table_name text NOT NULL,
    series     text NOT NULL,
    floor_seq  bigint,
    base_seq   bigint,
    PRIMARY KEY (table_name, series)
);

-- The name of a series, from the values of its columns in order.
CREATE OR REPLACE FUNCTION ledger_series(VARIADIC p_values text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT string_agg(replace(v, '/', '//'), '/' ORDER BY i) FROM unnest(p_values) WITH ORDINALITY AS u(v, i)
$$;

-- Moves offsets as ingest_move_offsets() does, and with them what is known of the partitions: max_sequence only grows, a hole
-- is as given.
CREATE OR REPLACE FUNCTION ledger_move_offsets(
    p_group_id text, p_topics text[], p_partitions int[], p_from bigint[], p_to bigint[],
    p_max_sequences bigint[], p_holes text[], p_hole_tables text[], p_hole_series text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM ingest_move_offsets(p_group_id, p_topics, p_partitions, p_from, p_from); -- locks and compares
    UPDATE ingest_offsets o
    SET next_offset = m.next_offset, updated_at = now(), max_sequence = greatest(o.max_sequence, m.max_sequence),
        hole = m.hole, hole_table = m.hole_table, hole_series = m.hole_series
    FROM unnest(p_topics, p_partitions, p_to, p_max_sequences, p_holes, p_hole_tables, p_hole_series)
        AS m(topic, partition, next_offset, max_sequence, hole, hole_table, hole_series)
    WHERE o.group_id = p_group_id AND o.topic = m.topic AND o.partition = m.partition
      AND (o.next_offset <> m.next_offset OR o.max_sequence IS DISTINCT FROM m.max_sequence
           OR o.hole IS DISTINCT FROM m.hole);
END $$;

-- Partitions that were read to their end at p_offsets hold nothing back up to p_clear_to, unless they moved meanwhile.
CREATE OR REPLACE FUNCTION ledger_clear(
    p_group_id text, p_topics text[], p_partitions int[], p_offsets bigint[], p_clear_to bigint[]) RETURNS void
LANGUAGE sql AS $$
    UPDATE ingest_offsets o SET clear_to = greatest(o.clear_to, m.clear_to)
    FROM unnest(p_topics, p_partitions, p_offsets, p_clear_to) AS m(topic, partition, next_offset, clear_to)
    WHERE o.group_id = p_group_id AND o.topic = m.topic AND o.partition = m.partition
      AND o.next_offset = m.next_offset AND o.hole IS NULL
$$;

-- Notes which partitions carry series that are numbered globally.
CREATE OR REPLACE FUNCTION ledger_place_series(
    p_group text, p_topics text[], p_partitions int[], p_tables text[], p_series text[]) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO sequence_series AS s (table_name, series, group_id, topic, partition)
    SELECT DISTINCT u.table_name, u.series, p_group, u.topic, u.partition
    FROM unnest(p_topics, p_partitions, p_tables, p_series) AS u(topic, partition, table_name, series)
    ORDER BY 1, 2, 4, 5
    ON CONFLICT (table_name, series, group_id, topic, partition) DO UPDATE SET max_seq = NULL
    WHERE s.max_seq IS NOT NULL -- it was dense before
$$;

-- Widens the ranges by those of a batch: one array element for each series and day. What lies within 65,536 numbers of one
-- of its day's ranges, and no other day's range begins in between, is merged into it; else it opens a range of its own: a late
-- candle of an old day must not make that day's range lie over all the days since, which a page would then have to open. A day
-- has at most 32 ranges for that reason, then the nearest is widened.
CREATE OR REPLACE FUNCTION ledger_widen(
    p_tables text[], p_series text[], p_days date[], p_min_seqs bigint[], p_max_seqs bigint[],
    p_min_times timestamptz[], p_max_times timestamptz[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    reach CONSTANT bigint := 65536;
    ranges_max CONSTANT bigint := 32;
    r record;
BEGIN
    FOR r IN
        SELECT * FROM unnest(p_tables, p_series, p_days, p_min_seqs, p_max_seqs, p_min_times, p_max_times)
            AS u(table_name, series, day, min_seq, max_seq, min_time, max_time)
        ORDER BY table_name, series, day, min_seq
    LOOP
        UPDATE sequence_ranges g
        SET min_seq = least(g.min_seq, r.min_seq), max_seq = greatest(g.max_seq, r.max_seq),
            min_time = least(g.min_time, r.min_time), max_time = greatest(g.max_time, r.max_time)
        WHERE g.table_name = r.table_name AND g.series = r.series AND g.day = r.day
          AND g.min_seq = (
              SELECT n.min_seq FROM sequence_ranges n
              WHERE n.table_name = r.table_name AND n.series = r.series AND n.day = r.day
                AND n.min_seq - reach <= r.max_seq AND n.max_seq >= r.min_seq - reach
                AND NOT EXISTS (
                    SELECT FROM sequence_ranges o
                    WHERE o.table_name = r.table_name AND o.series = r.series AND o.day <> r.day
                      AND o.min_seq > least(n.max_seq, r.max_seq) AND o.min_seq < greatest(n.min_seq, r.min_seq))
              ORDER BY n.min_seq LIMIT 1);
        CONTINUE WHEN FOUND;
        IF ranges_max <= (
            SELECT count(*) FROM sequence_ranges g
            WHERE g.table_name = r.table_name AND g.series = r.series AND g.day = r.day) THEN
            UPDATE sequence_ranges g
            SET min_seq = least(g.min_seq, r.min_seq), max_seq = greatest(g.max_seq, r.max_seq),
                min_time = least(g.min_time, r.min_time), max_time = greatest(g.max_time, r.max_time)
            WHERE g.table_name = r.table_name AND g.series = r.series AND g.day = r.day
              AND g.min_seq = (
                  SELECT n.min_seq FROM sequence_ranges n
                  WHERE n.table_name = r.table_name AND n.series = r.series AND n.day = r.day
                  ORDER BY greatest(n.min_seq - r.max_seq, r.min_seq - n.max_seq), n.min_seq LIMIT 1);
            CONTINUE WHEN FOUND;
        END IF;
        INSERT INTO sequence_ranges AS g
        VALUES (r.table_name, r.series, r.day, r.min_seq, r.max_seq, r.min_time, r.max_time)
        ON CONFLICT (table_name, series, day, min_seq) DO UPDATE
        SET max_seq = greatest(g.max_seq, EXCLUDED.max_seq),
            min_time = least(g.min_time, EXCLUDED.min_time),
            max_time = greatest(g.max_time, EXCLUDED.max_time);
    END LOOP;
END $$;

-- Takes the numbers (p_from, p_to] of a series out of the gaps that cover them; p_reason NULL: of any reason. Returns how
-- many gaps were touched.
CREATE OR REPLACE FUNCTION ledger_cut(p_table text, p_series text, p_from bigint, p_to bigint, p_reason text) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM sequence_gaps g
        WHERE g.table_name = p_table AND g.series = p_series AND g.from_seq < p_to AND g.to_seq > p_from
          AND (p_reason IS NULL OR g.reason = p_reason)
        RETURNING *
    ), kept AS (
        INSERT INTO sequence_gaps (table_name, series, group_id, topic, partition, from_seq, to_seq, reason, seen_at)
        SELECT g.table_name, g.series, g.group_id, g.topic, g.partition, part.f, part.t, g.reason, g.seen_at
        FROM gone g CROSS JOIN LATERAL (VALUES (g.from_seq, p_from), (p_to, g.to_seq)) AS part(f, t)
        WHERE part.f < part.t
    )
    SELECT count(*) FROM gone
$$;

-- Takes single numbers out of the gaps that cover them: they came after all. Returns how many pieces were touched.
CREATE OR REPLACE FUNCTION ledger_heal(p_tables text[], p_series text[], p_seqs bigint[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    healed bigint := 0;
BEGIN
    FOR r IN
        SELECT DISTINCT u.* FROM unnest(p_tables, p_series, p_seqs) AS u(table_name, series, seq)
        JOIN sequence_gaps g ON g.table_name = u.table_name AND g.series = u.series
            AND g.from_seq < u.seq AND g.to_seq >= u.seq
        ORDER BY 1, 2, 3
    LOOP
        healed := healed + ledger_cut(r.table_name, r.series, r.seq - 1, r.seq, NULL);
    END LOOP;
    RETURN healed;
END $$;

-- Takes numbers of series that are numbered densely, as runs (from, to] of what was read, in the order of reading;
-- p_accepted says whether it was stored too. What a partition jumped over becomes a gap, from the first number that was ever
-- read on; what comes late leaves it. Where a series is seen in a second
-- partition nothing can be said about jumps any more: such a series is returned once, and has no gaps of this kind from
-- then on. Returns how many gaps were opened, and the name of a series that is in two partitions now.
CREATE OR REPLACE FUNCTION ledger_take_runs(
    p_group text, p_topics text[], p_partitions int[], p_tables text[], p_series text[], p_from bigint[], p_to bigint[],
    p_accepted boolean[], OUT opened bigint, OUT split text)
LANGUAGE plpgsql AS $$
DECLARE
    r record;
    had bigint;
    is_new boolean;
    is_split boolean;
BEGIN
    opened := 0;
    FOR r IN
        SELECT u.*, first_value(u.f) OVER (PARTITION BY table_name, series, topic, partition ORDER BY place) AS start
        FROM unnest(p_topics, p_partitions, p_tables, p_series, p_from, p_to, p_accepted) WITH ORDINALITY
            AS u(topic, partition, table_name, series, f, t, accepted, place)
        ORDER BY table_name, series, topic, partition, f, t, accepted
    LOOP
        INSERT INTO sequence_series (table_name, series, group_id, topic, partition)
        VALUES (r.table_name, r.series, p_group, r.topic, r.partition) ON CONFLICT DO NOTHING;
        is_new := FOUND;
        SELECT s.max_seq INTO STRICT had FROM sequence_series s
        WHERE s.table_name = r.table_name AND s.series = r.series AND s.group_id = p_group
          AND s.topic = r.topic AND s.partition = r.partition FOR UPDATE;
        had := coalesce(had, r.start);
        is_split := EXISTS (
            SELECT FROM sequence_series s
            WHERE s.table_name = r.table_name AND s.series = r.series AND s.group_id = p_group
              AND (s.topic, s.partition) <> (r.topic, r.partition));
        IF is_new AND is_split THEN
            split := r.table_name || ' ' || r.series;
        END IF;
        IF r.f < had THEN
            PERFORM ledger_cut(r.table_name, r.series, r.f, least(r.t, had),
                               CASE WHEN NOT r.accepted THEN 'never_received' END);
        ELSIF r.f > had AND NOT is_split THEN
            INSERT INTO sequence_gaps (table_name, series, group_id, topic, partition, from_seq, to_seq, reason)
            VALUES (r.table_name, r.series, p_group, r.topic, r.partition, had, r.f, 'never_received');
            opened := opened + 1;
        END IF;
        UPDATE sequence_series s SET max_seq = greatest(had, r.t)
        WHERE s.table_name = r.table_name AND s.series = r.series AND s.group_id = p_group
          AND s.topic = r.topic AND s.partition = r.partition AND (s.max_seq IS NULL OR s.max_seq < r.t);
    END LOOP;
END $$;

-- Up to which number everything of a series has been read: the least progress of the partitions that carry it; a series
-- never seen may come in any partition of its topics. -1: nothing.
CREATE OR REPLACE FUNCTION ledger_ingested(p_group text, p_table text, p_series text, p_topics text[]) RETURNS bigint
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    progress bigint;
    base bigint;
BEGIN
    SELECT min(coalesce(s.max_seq, greatest(o.max_sequence, o.clear_to), -1)) INTO progress
    FROM sequence_series s LEFT JOIN ingest_offsets o USING (group_id, topic, partition)
    WHERE s.table_name = p_table AND s.series = p_series AND s.group_id = p_group;
    IF progress IS NULL THEN
        SELECT min(coalesce(greatest(o.max_sequence, o.clear_to), -1)) INTO progress
        FROM ingest_offsets o WHERE o.group_id = p_group AND o.topic = ANY (p_topics);
    END IF;
    SELECT b.base_seq INTO base FROM sequence_bounds b
    WHERE b.table_name = p_table AND b.series = p_series;
    RETURN greatest(progress, base, -1);
END $$;

-- What is missing of (p_from, p_to], in order; adjoining pieces of one reason are joined. Of more than a thousand pieces
-- the last are joined too, one for each reason: what lies between them counts as missing.
CREATE OR REPLACE FUNCTION ledger_missing(
    p_group text, p_table text, p_series text, p_topics text[], p_from bigint, p_to bigint)
RETURNS TABLE (from_seq bigint, to_seq bigint, reason text)
LANGUAGE plpgsql STABLE ROWS 4 SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pieces_max CONSTANT bigint := 1000;
    ingested bigint := ledger_ingested(p_group, p_table, p_series, p_topics);
    floor_at bigint;
    low bigint;
    high bigint;
BEGIN
    SELECT b.floor_seq INTO floor_at FROM sequence_bounds b
    WHERE b.table_name = p_table AND b.series = p_series;
    low := greatest(p_from, least(coalesce(floor_at, p_from), p_to));
    high := greatest(least(p_to, ingested), low);
    RETURN QUERY
    WITH pieces AS (
        SELECT p_from AS f, low AS t, 'expired' AS r WHERE p_from < low
        UNION ALL
        SELECT greatest(g.from_seq, low), least(g.to_seq, high), g.reason
        FROM sequence_gaps g
        WHERE g.table_name = p_table AND g.series = p_series
          AND g.to_seq > low AND g.from_seq < high
        UNION ALL
        SELECT greatest(g.from_seq, low), least(g.to_seq, high), g.reason
        FROM sequence_gaps g
        WHERE g.series IS NULL AND g.group_id = p_group AND g.topic = ANY (p_topics)
          AND g.to_seq > low AND g.from_seq < high
          AND (NOT EXISTS (SELECT FROM sequence_series s
                           WHERE s.table_name = p_table AND s.series = p_series
                             AND s.group_id = p_group)
               OR EXISTS (SELECT FROM sequence_series s
                          WHERE s.table_name = p_table AND s.series = p_series
                            AND s.group_id = p_group
                            AND s.topic = g.topic AND s.partition = g.partition))
        UNION ALL
        SELECT high, p_to, 'not_ingested' WHERE high < p_to
    ), marked AS (
        SELECT p.*, CASE WHEN p.f <= max(p.t) OVER (PARTITION BY p.r ORDER BY p.f, p.t
                                                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
                         THEN 0 ELSE 1 END AS opens
        FROM pieces p WHERE p.f < p.t
    ), numbered AS (
        SELECT m.*, sum(m.opens) OVER (PARTITION BY m.r ORDER BY m.f, m.t
                                       ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
        FROM marked m
    ), islands AS (
        SELECT min(n.f) AS f, max(n.t) AS t, n.r FROM numbered n GROUP BY n.r, n.island
    ), ranked AS (
        SELECT i.*, row_number() OVER (ORDER BY i.f, i.t) AS rank FROM islands i
    )
    SELECT min(k.f), max(k.t), k.r FROM ranked k GROUP BY k.r, least(k.rank, pieces_max) ORDER BY 1, 2;
END $$;

-- True for a table that has neither partitions nor chunks.
CREATE OR REPLACE FUNCTION ledger_is_plain(p_table text) RETURNS boolean
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = to_regclass(quote_ident(p_table)));
END $$;

-- The time windows that hold the numbers (p_from, page_to], in milliseconds since 1970, from inclusive, to exclusive: at
-- most p_days, each within a day (UTC), apart from each other. page_to is p_to, or less when more days would be needed. A
-- plain table has one window, which is all time.
CREATE OR REPLACE FUNCTION ledger_page(
    p_table text, p_series text, p_from bigint, p_to bigint, p_days int)
RETURNS TABLE (page_to bigint, from_ms bigint[], to_ms bigint[])
LANGUAGE plpgsql STABLE ROWS 1 SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    r record;
    days date[] := '{}';
    place int;
BEGIN
    page_to := p_to;
    IF ledger_is_plain(p_table) THEN
        from_ms := ARRAY[-62135596800000]; -- the year 1
        to_ms := ARRAY[9000000000000000];    -- the year 287000
        RETURN NEXT;
        RETURN;
    END IF;
    from_ms := '{}';
    to_ms := '{}';
    FOR r IN
        SELECT g.day, g.min_seq,
               floor(extract(epoch FROM g.min_time) * 1000)::bigint AS f,
               floor(extract(epoch FROM g.max_time) * 1000)::bigint + 1 AS t
        FROM sequence_ranges g
        WHERE g.table_name = p_table AND g.series = p_series
          AND g.max_seq > p_from AND g.min_seq <= p_to
        ORDER BY g.min_seq, g.day
    LOOP
        place := array_position(days, r.day);
        IF place IS NULL AND cardinality(days) >= p_days AND r.min_seq > p_from + 1 THEN
            page_to := r.min_seq - 1;
            EXIT;
        END IF;
        IF place IS NULL THEN
            days := days || r.day;
            from_ms := from_ms || r.f;
            to_ms := to_ms || r.t;
        ELSE
            from_ms[place] := least(from_ms[place], r.f);
            to_ms[place] := greatest(to_ms[place], r.t);
        END IF;
    END LOOP;
    IF cardinality(days) > p_days THEN
        -- More days than windows may hold the very next number: the days nearest to each other share a window.
        WITH windows AS (
            SELECT w.f, w.t, w.f - lag(w.t) OVER (ORDER BY w.f) AS apart FROM unnest(from_ms, to_ms) AS w(f, t)
        ), parted AS (
            SELECT w.*, row_number() OVER (ORDER BY w.apart DESC NULLS FIRST) <= p_days AS opens FROM windows w
        ), grouped AS (
            SELECT p.*, sum(p.opens::int) OVER (ORDER BY p.f) AS number FROM parted p
        ), merged AS (
            SELECT min(g.f) AS f, max(g.t) AS t FROM grouped g GROUP BY g.number
        )
        SELECT array_agg(m.f ORDER BY m.f), array_agg(m.t ORDER BY m.f) INTO from_ms, to_ms FROM merged m;
    END IF;
    RETURN NEXT;
END $$;

-- The lowest and the highest number of the stored rows whose p_columns have p_values: of a plain table by index, of a table
-- with partitions from the ranges, without opening one (a number that was superseded there counts too). NULL: there are none.
CREATE OR REPLACE FUNCTION ledger_ends(p_table text, p_columns text[], p_values text[], p_sequence text)
RETURNS TABLE (oldest bigint, newest bigint)
LANGUAGE plpgsql STABLE ROWS 1 SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF ledger_is_plain(p_table) THEN
        RETURN QUERY EXECUTE format(
            'SELECT min(%1$I)::bigint, max(%1$I)::bigint FROM %2$I WHERE %3$s AND %1$I IS NOT NULL', p_sequence, p_table,
            (SELECT string_agg(format('%I = %L', c, v), ' AND ') FROM unnest(p_columns, p_values) AS u(c, v)));
    ELSE
        RETURN QUERY SELECT min(g.min_seq), max(g.max_seq) FROM sequence_ranges g
        WHERE g.table_name = p_table AND g.series = ledger_series(VARIADIC p_values);
    END IF;
END $$;
