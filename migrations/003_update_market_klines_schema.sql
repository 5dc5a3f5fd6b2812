-- market_klines: the global sequence number of the update that a row holds, and the index that finds rows by it.
-- May be applied again. Making the index holds up writers of a large table for as long as it takes.
ALTER TABLE market_klines ADD COLUMN IF NOT EXISTS sequence BIGINT;

CREATE INDEX IF NOT EXISTS idx_market_klines_symbol_sequence
    ON market_klines (symbol, sequence) WHERE sequence IS NOT NULL;
