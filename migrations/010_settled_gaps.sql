-- Gaps that refused messages have left are closed when all of those messages were run again. May be applied again.

-- How far the partition was read when the gap was written: every message that it is for lies before. NULL: not known, or one
-- of them was deleted before it was run again, and nobody can tell any more when the gap is closed.
ALTER TABLE sequence_gaps ADD COLUMN IF NOT EXISTS read_to bigint;

CREATE INDEX IF NOT EXISTS idx_rejected_messages_pending
    ON rejected_messages (group_id, topic, partition, "offset") WHERE redriven_at IS NULL;

-- As before (006), but what is left of a gap keeps its read_to.
CREATE OR REPLACE FUNCTION ledger_cut(p_table text, p_series text, p_from bigint, p_to bigint, p_reason text) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM sequence_gaps g
        WHERE g.table_name = p_table AND g.series = p_series AND g.from_seq < p_to AND g.to_seq > p_from
          AND (p_reason IS NULL OR g.reason = p_reason)
        RETURNING *
    ), kept AS (
        INSERT INTO sequence_gaps
            (table_name, series, group_id, topic, partition, from_seq, to_seq, reason, seen_at, read_to)
        SELECT g.table_name, g.series, g.group_id, g.topic, g.partition, part.f, part.t, g.reason, g.seen_at, g.read_to
        FROM gone g CROSS JOIN LATERAL (VALUES (g.from_seq, p_from), (p_to, g.to_seq)) AS part(f, t)
        WHERE part.f < part.t
    )
    SELECT count(*) FROM gone
$$;

-- Closes the gaps whose refused messages have all been stored or skipped since; a gap of reason rejected is for nothing else.
-- One that was not holds back the gaps of its partition that were written after it. Returns how many were closed.
CREATE OR REPLACE FUNCTION ledger_settle(p_group text) RETURNS bigint
LANGUAGE sql AS $$
    WITH closed AS (
        DELETE FROM sequence_gaps g
        WHERE g.group_id = p_group AND g.reason = 'rejected' AND g.read_to IS NOT NULL
          AND NOT EXISTS (SELECT FROM rejected_messages r
                          WHERE r.group_id = g.group_id AND r.topic = g.topic AND r.partition = g.partition
                            AND r.redriven_at IS NULL AND r."offset" < g.read_to)
        RETURNING 1
    )
    SELECT count(*) FROM closed
$$;

-- A refused message that is deleted before it was run again is lost for good, and so is the end of its gap.
CREATE OR REPLACE FUNCTION ledger_unsettle() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE sequence_gaps SET read_to = NULL WHERE read_to IS NOT NULL;
        RETURN NULL;
    END IF;
    UPDATE sequence_gaps g SET read_to = NULL
    WHERE g.group_id = OLD.group_id AND g.topic = OLD.topic AND g.partition = OLD.partition AND g.read_to > OLD."offset";
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS ledger_unsettle ON rejected_messages;
CREATE TRIGGER ledger_unsettle AFTER DELETE ON rejected_messages
    FOR EACH ROW WHEN (OLD.redriven_at IS NULL) EXECUTE FUNCTION ledger_unsettle();
DROP TRIGGER IF EXISTS ledger_unsettle_all ON rejected_messages;
CREATE TRIGGER ledger_unsettle_all AFTER TRUNCATE ON rejected_messages
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_unsettle();
