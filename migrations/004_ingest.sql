-- Where ingest stands in Kafka, and what it could not store. May be applied again.

-- Moved in the transaction that stores the rows of the messages before next_offset.
CREATE TABLE IF NOT EXISTS ingest_offsets (
    group_id    TEXT        NOT NULL,
    topic       TEXT        NOT NULL,
    partition   INTEGER     NOT NULL,
    next_offset BIGINT      NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, topic, partition)
) WITH (fillfactor = 50); -- updated with every batch: room for it on the same page

CREATE TABLE IF NOT EXISTS rejected_messages (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rejected_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    group_id    TEXT        NOT NULL,
    stream      TEXT        NOT NULL,
    topic       TEXT        NOT NULL,
    partition   INTEGER     NOT NULL,
    "offset"    BIGINT      NOT NULL,
    topic_id    TEXT        NOT NULL DEFAULT '', -- a topic made anew uses its offsets again
    key         BYTEA,
    payload     BYTEA,
    stage       TEXT        NOT NULL CHECK (stage IN ('decode', 'map', 'row', 'database')),
    reason      TEXT        NOT NULL,
    sqlstate    TEXT,                            -- stage database: what PostgreSQL said
    rules_hash  TEXT,                            -- see rule_generations.hash
    symbol      TEXT,
    sequence    BIGINT,
    redriven_at TIMESTAMPTZ,                     -- today's rules have stored it
    UNIQUE (group_id, stream, topic, topic_id, partition, "offset")
);
CREATE INDEX IF NOT EXISTS idx_rejected_messages_open
    ON rejected_messages (stream, id) WHERE redriven_at IS NULL;

-- A process that stands still, or is cut off, in the middle of sending a write leaves a transaction that PostgreSQL keeps open, with
-- its locks, until it notices: up to hours. Such sessions of ingest, which have been silent for 5 s, are ended. Their processes
-- find out, and begin anew behind whoever has moved their offsets meanwhile.
CREATE OR REPLACE FUNCTION ingest_end_half_writes() RETURNS VOID
LANGUAGE plpgsql AS $function$
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND application_name LIKE 'core-service ingest/%' AND backend_xid IS NOT NULL
      AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - INTERVAL '5 seconds';
END
$function$;

-- Moves offsets from where the caller believes them to be, all or none: compare and swap. An offset whose `from` equals its
-- `to` is checked only. Rows are locked in one order, so that callers cannot block each other for ever.
CREATE OR REPLACE FUNCTION ingest_move_offsets(
    p_group_id TEXT, p_topics TEXT[], p_partitions INTEGER[], p_from BIGINT[], p_to BIGINT[]) RETURNS VOID
LANGUAGE plpgsql AS $function$
DECLARE
    as_expected BIGINT;
BEGIN
    IF EXISTS (SELECT FROM ingest_offsets o JOIN unnest(p_topics, p_partitions) AS m (topic, partition)
                 ON m.topic = o.topic AND m.partition = o.partition
               WHERE o.group_id = p_group_id AND o.xmax <> 0) THEN -- may be locked
        PERFORM ingest_end_half_writes();
    END IF;
    SELECT count(*) INTO as_expected FROM (
        SELECT FROM ingest_offsets o
        JOIN unnest(p_topics, p_partitions, p_from) AS m (topic, partition, from_offset)
          ON m.topic = o.topic AND m.partition = o.partition AND m.from_offset = o.next_offset
        WHERE o.group_id = p_group_id
        ORDER BY o.topic, o.partition
        FOR UPDATE OF o
    ) AS locked;
    IF as_expected <> cardinality(p_topics) THEN
        RAISE EXCEPTION 'offsets of group % are not where they were expected', p_group_id USING
            ERRCODE = 'CS001',
            DETAIL = (
                SELECT string_agg(format('%s/%s: expected %s, is %s', m.topic, m.partition, m.from_offset,
                                         coalesce(o.next_offset::TEXT, 'not there')), ', '
                                  ORDER BY m.topic, m.partition)
                FROM unnest(p_topics, p_partitions, p_from) AS m (topic, partition, from_offset)
                LEFT JOIN ingest_offsets o
                  ON o.group_id = p_group_id AND o.topic = m.topic AND o.partition = m.partition
                WHERE o.next_offset IS DISTINCT FROM m.from_offset);
    END IF;
    UPDATE ingest_offsets o SET next_offset = m.to_offset, updated_at = now()
    FROM unnest(p_topics, p_partitions, p_to) AS m (topic, partition, to_offset)
    WHERE o.group_id = p_group_id AND o.topic = m.topic AND o.partition = m.partition
      AND o.next_offset <> m.to_offset;
END
$function$;
