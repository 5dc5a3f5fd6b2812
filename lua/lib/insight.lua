-- An insight in an answer.
local insight = {}

insight.columns = "symbol, kind, summary, confidence, details"

-- `row` has time_ms besides the columns. A column without a value is null, never absent.
function insight.of(row)
  return {
    symbol = row.symbol,
    kind = row.kind,
    time = row.time_ms,
    summary = row.summary or cs.null,
    confidence = row.confidence or cs.null,
    details = row.details == nil and cs.null or row.details,
  }
end

return insight
