-- Running rejected messages again. May be applied again.

-- Says how it went with messages that were read as pending: those that passed (or are skipped now) are done, the others
-- keep today's reason. All or none: when one of them is no longer pending, another re-drive had it, and nothing of the
-- caller's transaction may stay. Rows are locked in one order, so that callers cannot block each other for ever.
CREATE OR REPLACE FUNCTION redrive_settle(
    p_ids BIGINT[], p_passed BOOLEAN[], p_stages TEXT[], p_reasons TEXT[], p_sqlstates TEXT[], p_rules_hash TEXT)
RETURNS VOID
LANGUAGE plpgsql AS $function$
DECLARE
    still_pending BIGINT;
BEGIN
    SELECT count(*) INTO still_pending FROM (
        SELECT FROM rejected_messages r
        WHERE r.id = ANY (p_ids) AND r.redriven_at IS NULL
        ORDER BY r.id DESC
        FOR UPDATE
    ) AS locked;
    IF still_pending <> cardinality(p_ids) THEN
        RAISE EXCEPTION '% of % rejected messages are no longer pending',
            cardinality(p_ids) - still_pending, cardinality(p_ids) USING ERRCODE = 'CS001';
    END IF;
    UPDATE rejected_messages r SET
        redriven_at = CASE WHEN s.passed THEN now() END,
        stage = CASE WHEN s.passed THEN r.stage ELSE s.stage END,
        reason = CASE WHEN s.passed THEN r.reason ELSE s.reason END,
        sqlstate = CASE WHEN s.passed THEN r.sqlstate ELSE s.sqlstate END,
        rules_hash = CASE WHEN s.passed THEN r.rules_hash ELSE p_rules_hash END
    FROM unnest(p_ids, p_passed, p_stages, p_reasons, p_sqlstates) AS s (id, passed, stage, reason, sqlstate)
    WHERE r.id = s.id;
END
$function$;
