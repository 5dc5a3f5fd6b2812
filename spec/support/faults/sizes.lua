-- Much of everything: partitions, symbols, bytes of a message.
local moments = require "spec.support.faults.moments"

local MESSAGES = 20000 -- a round
local MEGABYTE = 1024 * 1024

-- Two members, one of which is killed.
local function members(s, rounds)
  s:start(false, 1)
  s:start(false, 2)
  for _ = 1, rounds do
    s:feed(MESSAGES)
    moments.wait(s)
    s.services[1]:kill()
    s:feed(MESSAGES / 4)
    s:wait_progress(s:progress() + 1)
    s:start(false, 1)
  end
end

-- As long as the limit, and longer; in a row, so that a batch would be far too large with all.
local function megabytes(s, rounds)
  s:start "ready"
  for _ = 1, rounds do
    local messages = s.load:many(100)
    for i = 1, 40 do
      local large = s.load:message({ symbol = "LARGE" .. i % 3 }, i % s.partitions)
      local size = i % 5 == 0 and MEGABYTE + 1 or MEGABYTE
      large.value = large.value .. (" "):rep(size - #large.value)
      messages[#messages + 1] = large
    end
    s:feed(messages)
    s:feed(100)
    moments.wait(s)
    s.services[1]:kill()
    s:start(false)
  end
end

return {
  { name = "a thousand partitions", rounds = 1, run = members, seconds = 180,
    options = function() return { partitions = 1000, batch = 5000 } end },
  { name = "ten thousand symbols", rounds = 2, run = members,
    options = function() return { partitions = 4, batch = 5000, symbols = 10000 } end },
  { name = "messages of a megabyte", rounds = 2, run = megabytes,
    options = function()
      return { largest = MEGABYTE, env = { INGEST_MESSAGE_MAX_BYTES = MEGABYTE,
        INGEST_BATCH_BYTES = 4 * MEGABYTE, INGEST_PREFETCH_BYTES = 4 * MEGABYTE } }
    end },
}
