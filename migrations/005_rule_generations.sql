-- Every set of rule files that was put into force. May be applied again.
CREATE TABLE IF NOT EXISTS rule_generations (
    generation   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash         TEXT        NOT NULL, -- SHA-256 over the files: the same files may be published again
    files        JSONB       NOT NULL, -- {"path": "text", ...}
    published_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    state        TEXT        NOT NULL  -- published, rolled_back, failed
);
CREATE INDEX IF NOT EXISTS idx_rule_generations_hash ON rule_generations (hash);
