-- What a trading frontend does: follow one symbol, notice that numbers are missing, ask for them.
local cjson = require "cjson"
local http = require "spec.support.http"
local wait = require "spec.support.wait"

local frontend = {}

-- What the frontend asks for everything in (from, to].
function frontend.path(symbol, from, to)
  return ("/api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d"):format(symbol, from, to)
end

-- Follows `symbol` and loses what comes for `seconds` after the first messages. Returns the last
-- number before the gap, the first after it, and the lost messages: the frontend never saw those,
-- only the proof will look at them. `next_message` must not be behind. `on_lost` is told how far it
-- is: the last number before the gap, and how many were lost.
function frontend.lose(next_message, symbol, seconds, on_lost)
  local last, lost, back_at = nil, {}, nil
  local key = symbol .. "_1m"
  local seen = 0
  local deadline = wait.now() + seconds + 30
  while wait.now() < deadline do
    local value, of = next_message(100)
    wait.on_pause()
    if value and of == key then
      local message = cjson.decode(value)
      if back_at and wait.now() >= back_at then
        return last, message.seq, lost
      elseif back_at then
        lost[#lost + 1] = message
        on_lost(last, #lost)
      else
        seen = seen + 1
        last = message.seq
        back_at = seen == 10 and wait.now() + seconds or nil
      end
    end
  end
  error("no messages of " .. symbol .. " came")
end

-- Everything in (from, to], page by page; the first answer waits for what is not ingested yet, and
-- says what is missing for good. Returns { candles, pages, missing }.
local function recover(port, symbol, from, to)
  local found, pages, missing = {}, 0, nil
  repeat
    local path = frontend.path(symbol, from, to) .. "&limit=500&wait=2000"
    local answer = assert(http.get(port, path))
    assert(answer.status == 200, ("%s: %d %s"):format(path, answer.status, answer.body))
    for _, item in ipairs(answer.json.data) do
      found[#found + 1] = item
    end
    missing = missing or answer.json.missing
    pages = pages + 1
    from = answer.json.nextFromSeq
  until not answer.json.hasMore
  return { candles = found, pages = pages, missing = missing }
end

local function stored(database, symbol, from, to)
  return database:rows(([[
    SELECT sequence, (extract(epoch FROM time) * 1000)::bigint AS ms, close FROM market_klines
    WHERE symbol = '%s' AND sequence > %d AND sequence <= %d ORDER BY sequence]]):format(symbol,
    from, to))
end

local function same(found, rows)
  if #found ~= #rows then
    return false, ("%d candles, but the table has %d"):format(#found, #rows)
  end
  for i, row in ipairs(rows) do
    local item = found[i]
    if item.seq ~= tonumber(row.sequence) or item.timestamp ~= tonumber(row.ms)
      or item.kline.c ~= tonumber(row.close) then
      return false, ("candle %d is not as in the table"):format(i)
    end
  end
  return true
end

-- Whether all that is missing was refused by a rule; how many numbers that is.
local function count_refused(missing)
  local refused = 0
  for _, piece in ipairs(missing) do
    if piece.reason ~= "rejected" then
      return nil, ("the answer is not complete: %d to %d are missing, %s"):format(piece.fromSeq + 1,
        piece.toSeq, piece.reason)
    end
    refused = refused + piece.toSeq - piece.fromSeq
  end
  return refused
end

local function is_in(pieces, seq)
  for _, piece in ipairs(pieces) do
    if seq > piece.fromSeq and seq <= piece.toSeq then
      return true
    end
  end
  return false
end

local function assert_all_back(result, lost, to)
  local by_seq = {}
  for _, item in ipairs(result.candles) do
    by_seq[item.seq] = item
  end
  for _, message in ipairs(lost) do
    if message.kline.isFinal and message.seq <= to and not is_in(result.missing, message.seq) then
      local item = by_seq[message.seq]
      assert(item and item.kline.c == tonumber(message.kline.close),
        ("candle with sequence %d is not back"):format(message.seq))
    end
  end
end

-- Recovers the gap and proves the answer, twice over: it is what the table holds for the range, and
-- each candle that was finished while the frontend was away is in it, with its last price, or said
-- to be refused by a rule. Asks again while the service is still storing the end of the range, or
-- the newest candle moves on. Returns { candles, pages, refused }.
function frontend.prove(port, database, symbol, from, to, lost)
  return wait.till("the missed candles are back", 20, function()
    local before = stored(database, symbol, from, to)
    local result = recover(port, symbol, from, to)
    result.refused = assert(count_refused(result.missing))
    assert(#result.candles > 0, "no candle came back")
    assert(same(result.candles, before))
    assert_all_back(result, lost, to)
    return result
  end)
end

return frontend
