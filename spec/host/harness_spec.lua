local process = require "spec.support.process"
local wait = require "spec.support.wait"

describe("the harness", function()
  it("leaves neither processes nor directories behind when a run is killed", function()
    local script = os.tmpname()
    local file = assert(io.open(script, "w"))
    file:write [[
      local process = require "spec.support.process"
      local directory = process.directory()
      local child = process.spawn { argv = { "sh", "-c", "sleep 300 & wait" }, log = "/dev/null" }
      print(directory, child.pid)
      io.stdout:flush()
      while true do process.run { argv = { "sleep", "1" } } end
    ]]
    file:close()
    local run = process.spawn { argv = { "luajit", script } }
    finally(function()
      run:kill()
      os.remove(script)
    end)
    wait.till("the run has started its child", 10, function()
      return run:output():find "%d\n"
    end)
    local directory, pid = run:output():match "(%S+)\t(%d+)"
    assert.are.equal(0, os.execute("test -d " .. directory))

    run:kill()

    wait.till("the child's group and the directory are gone", 10, function()
      return os.execute("kill -0 -- -" .. pid .. " 2>/dev/null") ~= 0
        and os.execute("test -e " .. directory) ~= 0
    end)
  end)

  it("names what it waited for in vain", function()
    assert.has_error(function()
      wait.within("pigs fly", 0.01, function()
        return false, "too heavy"
      end)
    end, "gave up after 0.01 s waiting until pigs fly: too heavy")
  end)
end)
