-- What news carry beyond title and source. May be applied again.
ALTER TABLE IF EXISTS news_sentiment
    ADD COLUMN IF NOT EXISTS symbol VARCHAR(20),
    ADD COLUMN IF NOT EXISTS summary TEXT,
    ADD COLUMN IF NOT EXISTS content TEXT,
    ADD COLUMN IF NOT EXISTS sentiment_label TEXT,
    ADD COLUMN IF NOT EXISTS confidence DOUBLE PRECISION;
