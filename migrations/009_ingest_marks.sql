-- What was read where, for recognising a topic that was deleted and made anew. May be applied again.

-- Two messages that were read, three numbers each: offset, timestamp in milliseconds, hash of key and payload. First a recent
-- one, then the oldest that Kafka is known to have. NULL: none yet.
ALTER TABLE ingest_offsets ADD COLUMN IF NOT EXISTS marks bigint[];

-- A partition that goes back begins anew: what is remembered of its former life must not be held against it.
CREATE OR REPLACE FUNCTION ingest_forget_marks() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.marks := NULL;
    RETURN NEW;
END $$;
DROP TRIGGER IF EXISTS ingest_forget_marks ON ingest_offsets;
CREATE TRIGGER ingest_forget_marks BEFORE UPDATE OF next_offset ON ingest_offsets
    FOR EACH ROW WHEN (NEW.next_offset < OLD.next_offset) EXECUTE FUNCTION ingest_forget_marks();
