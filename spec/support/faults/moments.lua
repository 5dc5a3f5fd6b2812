-- When something is to happen.
local wait = require "spec.support.wait"

local moments = {}

-- Half of the moments lie anywhere in the next second and a half, half within the writing of what
-- waits in the topic.
function moments.wait(s)
  if math.random(2) == 1 then
    wait.pause(math.random() * 1.5)
    return
  end
  local from, to = s:progress(), s:ends()
  local part = math.floor((to - from) * 0.8)
  if part > 0 then
    s:wait_progress(from + math.random(part))
  end
end

return moments
