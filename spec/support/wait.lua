-- Waiting on a condition with a deadline: never a bare sleep.
local time = require "posix.time"

local wait = {}

function wait.now()
  local t = time.clock_gettime(time.CLOCK_MONOTONIC)
  return t.tv_sec + t.tv_nsec / 1e9
end

function wait.pause(seconds)
  time.nanosleep { tv_sec = math.floor(seconds), tv_nsec = math.floor(seconds % 1 * 1e9) }
end

-- Calls `condition` until it returns something true, and returns that. After `seconds` it is an
-- error: "gave up waiting until WHAT", with the last second value or error of `condition`. Between
-- two calls it pauses, longer and longer, at most `longest_pause` (0.05 s).
function wait.till(what, seconds, condition, longest_pause)
  local deadline = wait.now() + seconds
  local pause = 0.002
  while true do
    local fine, value, why = pcall(condition)
    if fine and value then
      return value
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

return wait
