-- An insight in an answer.
local schema = require "lib.schema"

local insight = {}

-- What a query selects so that insight.of can read its rows. The details are not looked into, so
-- they travel as the text that they are: every digit stays, and an empty list stays a list.
insight.columns = "symbol, kind, summary, confidence, details::text as details"

insight.schema = schema.object {
  symbol = schema.text,
  kind = schema.text,
  time = schema.time,
  summary = schema.nullable(schema.text),
  confidence = schema.number,
  details = { description = "Any JSON" },
}

-- `row` has time_ms besides the columns. A column without a value is null, never absent.
function insight.of(row)
  return {
    symbol = row.symbol,
    kind = row.kind,
    time = row.time_ms,
    summary = row.summary or cs.null,
    confidence = row.confidence or cs.null,
    details = row.details and cs.json.raw(row.details) or cs.null,
  }
end

return insight
