-- What a trading frontend does: follow one symbol, notice that numbers are missing, ask for them.
local cjson = require "cjson"
local http = require "spec.support.http"
local wait = require "spec.support.wait"

local frontend = {}

-- Follows `symbol` and loses what comes for `seconds` after the first messages. Returns the last
-- number before the gap, the first after it, and the lost messages: the frontend never saw those,
-- only the proof will look at them. `next_message` must not be behind.
function frontend.lose(next_message, symbol, seconds)
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
-- says whether that is all.
function frontend.recover(port, symbol, from, to)
  local found, pages, complete = {}, 0, nil
  repeat
    local path = ("/api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d&limit=500&wait=2000"):format(
      symbol, from, to)
    local answer = assert(http.get(port, path))
    assert(answer.status == 200, ("%s: %d %s"):format(path, answer.status, answer.body))
    for _, item in ipairs(answer.json.data) do
      found[#found + 1] = item
    end
    if complete == nil then
      complete = answer.json.complete
    end
    pages = pages + 1
    from = answer.json.nextFromSeq
  until not answer.json.hasMore
  return found, pages, complete
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

-- Recovers the gap and proves the answer, twice over: it is what the table holds for the range, and
-- each candle that was finished while the frontend was away is in it, with its last price. Asks
-- again while the service is still storing the end of the range, or the newest candle moves on.
function frontend.prove(port, database, symbol, from, to, lost)
  return wait.till("the missed candles are back", 20, function()
    local before = stored(database, symbol, from, to)
    local found, pages, complete = frontend.recover(port, symbol, from, to)
    assert(#found > 0, "no candle came back")
    assert(complete, "the answer does not say that it is complete")
    assert(same(found, before))
    local by_seq = {}
    for _, item in ipairs(found) do
      by_seq[item.seq] = item
    end
    for _, message in ipairs(lost) do
      if message.kline.isFinal and message.seq <= to then
        local item = by_seq[message.seq]
        assert(item and item.kline.c == tonumber(message.kline.close),
          ("candle with sequence %d is not back"):format(message.seq))
      end
    end
    return { candles = found, pages = pages }
  end)
end

return frontend
