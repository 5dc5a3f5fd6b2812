-- busted's output for scripts/test: TAP, one line a spec as soon as it ends, with its duration.
-- (The handler that comes with busted ends the run on a file that does not load.)
local busted = require "busted"
local pretty = require "pl.pretty"

local function comment(text)
  return "# " .. text:gsub("\n+$", ""):gsub("\n", "\n# ")
end

local function where(element)
  local trace = element.trace or {}
  return ("%s:%s"):format(trace.short_src or element.name or "?", trace.currentline or "?")
end

return function()
  local handler = require "busted.outputHandlers.base"()
  local count = 0

  local function write(line)
    io.stdout:write(line, "\n")
    io.stdout:flush()
  end

  local function write_failure(failure)
    local message = failure.message
    if type(message) ~= "string" then
      message = message == nil and "no message" or pretty.write(message)
    end
    write(("not ok %d - %s"):format(count, failure.name))
    write(comment(where(failure.element)))
    write(comment(message))
    local traceback = failure.trace and failure.trace.traceback
    if traceback then
      write(comment(traceback:gsub("^\n", "", 1)))
    end
  end

  local function on_test_end(element, _, status)
    count = count + 1
    if status == "success" then
      local name = handler.getFullName(element)
      write(("ok %d - %s (%.2f s)"):format(count, name, element.duration or 0))
    elseif status == "pending" then
      write(("ok %d - # SKIP %s"):format(count, handler.getFullName(element)))
    else
      local list = status == "failure" and handler.failures or handler.errors
      write_failure(list[#list])
    end
    return nil, true
  end

  -- Errors outside of a spec: a file that does not load, a setup, a teardown.
  local function on_error(element)
    if element.descriptor ~= "it" then
      count = count + 1
      write_failure(handler.errors[#handler.errors])
    end
    return nil, true
  end

  busted.subscribe({ "suite", "end" }, function()
    write("1.." .. count)
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, on_test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "error" }, on_error)
  return handler
end
