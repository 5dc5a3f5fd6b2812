-- Waiting on a condition with a deadline: never a bare sleep.
local time = require "posix.time"

local wait = {}

-- A machine that does more than these specs is no defect: what must come true gets at least this.
local PATIENCE_SECONDS = 60

function wait.now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

-- Called at every pause; what it throws ends the waiting.
function wait.on_pause() end

function wait.pause(seconds)
  wait.on_pause()
  time.nanosleep { tv_sec = math.floor(seconds), tv_nsec = math.floor(seconds % 1 * 1e9) }
end

-- Calls `condition` until it returns something true, and returns that. After `seconds` it is an
-- error: "gave up waiting until WHAT", with the last second value or error of `condition`. Between
-- two calls it pauses, longer and longer, at most `longest_pause` (0.05 s). What can no longer come
-- true need not be waited for: wait.hopeless() within `condition` is an error at once.
function wait.within(what, seconds, condition, longest_pause)
  local deadline = wait.now() + seconds
  local pause = 0.002
  while true do
    local fine, value, why = pcall(condition)
    if fine and value then
      return value
    end
    if not fine and type(value) == "table" and value.hopeless then
      error(("waiting until %s: %s"):format(what, value.hopeless), 2)
    end
    if wait.now() >= deadline then
      why = fine and why or not fine and value or nil
      error(("gave up after %g s waiting until %s%s"):format(seconds, what,
        why and ": " .. tostring(why) or ""), 2)
    end
    wait.pause(pause)
    pause = math.min(pause * 1.5, longest_pause or 0.05)
  end
end

-- The same for what need not be quick: it gets a minute even when `seconds` is less.
function wait.till(what, seconds, condition, longest_pause)
  return wait.within(what, math.max(seconds, PATIENCE_SECONDS), condition, longest_pause)
end

function wait.hopeless(why)
  error({ hopeless = why }, 0)
end

return wait
