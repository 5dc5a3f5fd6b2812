-- The start as a list: one line for each step, which moves while it goes on when somebody looks at
-- a terminal.
local wait = require "spec.support.wait"

local steps = {}
local is_terminal = false

function steps.show_on_terminal(value)
  is_terminal = value
end

local function show(line)
  io.stdout:write(line)
  io.stdout:flush()
end

-- Runs work(tell); tell(text) says how far it is, and what was told last stays. Returns what `work`
-- returns; its errors pass, after the step is marked.
function steps.run(name, work)
  local began, shown, detail = wait.now(), nil, ""
  local function draw(mark, ending)
    local line = ("  %-6s%-22s%s"):format(mark, name, detail)
    show((is_terminal and "\r\27[K" or "") .. line .. ending)
  end
  local function tell(text)
    detail = text
    if is_terminal and detail ~= shown then
      shown = detail
      draw("...", "")
    end
  end
  if is_terminal then
    draw("...", "")
  end
  local fine, result = pcall(work, tell)
  local seconds = wait.now() - began
  if seconds >= 1 then
    detail = ("%s (%.0f s)"):format(detail, seconds)
  end
  draw(fine and "ok" or "failed", "\n")
  if not fine then
    error(result, 0)
  end
  return result
end

return steps
