-- A frontend as docs/MISSED_DATA_API.md describes it: it hears some of the live messages of one
-- series, and asks for what it has missed, page by page.
local frontend = {}
local Frontend = {}
Frontend.__index = Frontend

local PAGES_MAX = 3000

-- ask(query) -> the answer as a table
function frontend.new(series, ask)
  return setmetatable({
    series = series, ask = ask, candles = {}, safe = 0, heard = 0, doubts = {},
  }, Frontend)
end

-- The greater number of a candle stays.
function Frontend:apply(ms, seq)
  local known = self.candles[ms]
  if not known or known <= seq then self.candles[ms] = seq end
end

function Frontend:hear(message)
  self:apply(message.ms, message.seq)
  self.heard = math.max(self.heard, message.seq)
end

-- Calls on_entry for everything in a range, in order, with pages of random sizes; returns the first
-- page. on_page(page, from) sees each.
function Frontend:walk(from, to, on_entry, on_page)
  local first, last_seq, seen = nil, from, {}
  for _ = 1, PAGES_MAX do
    local limit = 10 ^ math.random(0, 2) + math.random(0, 9)
    local page = self.ask(("symbol=%s&interval=%s&fromSeq=%d&toSeq=%d&limit=%d"):format(
      self.series.symbol, self.series.interval, from, to, limit))
    first = first or page
    assert(page.complete == (#page.missing == 0), "complete and missing disagree")
    assert(page.count == #page.data, "count and data disagree")
    if on_page then on_page(page, from) end
    for _, entry in ipairs(page.data) do
      local name = entry.seq .. "@" .. entry.timestamp
      assert(not seen[name], name .. " came twice")
      assert(entry.seq >= last_seq and entry.seq > from, name .. " is out of order")
      assert(entry.seq <= to, name .. " was not asked for")
      seen[name], last_seq = true, entry.seq
      on_entry(entry.timestamp, entry.seq)
    end
    if not page.hasMore then return first end
    assert(page.nextFromSeq > from and page.nextFromSeq < to, "the pages do not go on")
    assert(page.nextFromSeq >= last_seq, "the page holds more than it says")
    from = page.nextFromSeq
  end
  error "pages without end"
end

function Frontend:take(from, to)
  return self:walk(from, to, function(ms, seq) self:apply(ms, seq) end)
end

-- Gets what it has missed. What is not stored yet is asked for the next time; what is missing for
-- another reason may still be healed, and is remembered.
function Frontend:recover()
  if self.heard <= self.safe then return end
  local safe = self.heard
  for _, piece in ipairs(self:take(self.safe, self.heard).missing) do
    if piece.reason == "not_ingested" then
      safe = piece.fromSeq
    else
      self.doubts[#self.doubts + 1] = piece
    end
  end
  self.safe = safe
end

-- Asks again for everything that was missing.
function Frontend:ask_again()
  local doubts = self.doubts
  self.doubts = {}
  for _, piece in ipairs(doubts) do
    local left = self:take(piece.fromSeq, piece.toSeq).missing
    for _, still in ipairs(left) do self.doubts[#self.doubts + 1] = still end
  end
end

return frontend
