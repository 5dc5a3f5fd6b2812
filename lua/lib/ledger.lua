-- What the ledger knows of the numbers of a series in a range: which are missing and why, and in
-- which times the rows with the others lie.
--
-- It is read before the rows are: older knowledge can only make an answer say less than it could.
local MAX_WINDOWS = 3 -- a page opens no more days of a table than this
local GROUP = cs.env("MARKET_CONSUMER_GROUP_ID") or cs.env("KAFKA_GROUP_ID")
  or "core-service-market-consumer"
local TOPIC = cs.env("MARKET_DATA_TOPIC", "market_data")

local NOT_INGESTED = "not_ingested"
local MIN_PAUSE_MS, MAX_PAUSE_MS = 20, 200

local ledger = {}

local function for_each_window(separator, text_of)
  local parts = {}
  for i = 1, MAX_WINDOWS do parts[i] = text_of(i) end
  return table.concat(parts, separator)
end

local KEY = "(array[$1, $2])[1:{by}]" -- what names the series
local SERIES = "ledger_series(variadic " .. KEY .. ")"
local BOUNDS = for_each_window(", ", function(i)
  return ("page.from_ms[%d] as from_%d, page.to_ms[%d] as to_%d"):format(i, i, i, i)
end)

-- For series.queries: one row for each piece that is missing, or one without a piece; each with
-- all that is known of the page.
ledger.question = {
  sql = [[
    select gap.from_seq, gap.to_seq, gap.reason, page.page_to, ends.oldest, ends.newest, ]]
    .. BOUNDS .. [[

    from ledger_page('{table}', ]] .. SERIES .. [[, $3, $4, ]] .. MAX_WINDOWS .. [[) page
    cross join ledger_ends('{table}', (array['symbol', 'interval'])[1:{by}],
      ]] .. KEY .. [[, 'sequence') ends
    left join ledger_missing($5, '{table}', ]] .. SERIES .. [[, array[$6], $3, $4) gap on true
    order by gap.from_seq, gap.to_seq]],
  types = { "int8", "int8", "text", "text" },
  values = function(asked) return { asked.from, asked.to, GROUP, TOPIC } end,
}

-- SQL that joins what `select` finds in each window; `select` has {window} as a condition. The
-- bounds are plain parameters that follow $`place`: so the planner opens no other day.
function ledger.in_windows(select, place)
  return for_each_window("\nunion all\n", function(i)
    local window = ("time >= $%d and time < $%d"):format(place + 2 * i - 1, place + 2 * i)
    return "(" .. select:gsub("{window}", window) .. ")"
  end)
end

-- The types of the bounds, after those in `types`.
function ledger.with_window_types(types)
  for _ = 1, 2 * MAX_WINDOWS do types[#types + 1] = "timestamptz" end
  return types
end

-- The bounds, after the values in `values`. A window that is not needed is empty: NULLs.
function ledger.with_windows(known, values)
  for i = 1, MAX_WINDOWS do
    values[#values + 1] = known[1]["from_" .. i] or cs.null
    values[#values + 1] = known[1]["to_" .. i] or cs.null
  end
  return values
end

ledger.reason_schema = {
  enum = { NOT_INGESTED, "expired", "never_received", "rejected", "lost" },
}

-- What is missing, as the answer says it.
function ledger.missing(known)
  local pieces = {}
  for _, row in ipairs(known) do
    if row.reason then
      pieces[#pieces + 1] = { fromSeq = row.from_seq, toSeq = row.to_seq, reason = row.reason }
    end
  end
  return pieces
end

-- In how many milliseconds to look again, when all that is missing may come within what is left of
-- `wait_ms`; nil: answer now.
function ledger.pause_ms(known, wait_ms, req)
  local left_ms = wait_ms - req.waited_ms
  if req.final or left_ms <= 0 then return nil end
  for _, row in ipairs(known) do
    if row.reason ~= NOT_INGESTED then return nil end
  end
  local pause_ms = math.max(MIN_PAUSE_MS, math.min(MAX_PAUSE_MS, math.floor(req.waited_ms / 2)))
  return math.min(pause_ms, left_ms)
end

return ledger
