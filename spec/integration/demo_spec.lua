-- scripts/demo, as somebody runs it who has just come here.
local http = require "spec.support.http"
local process = require "spec.support.process"
local socket = require "socket"
local stdlib = require "posix.stdlib"
local wait = require "spec.support.wait"

local function environment(more)
  local env = {}
  for name, value in pairs(stdlib.getenv()) do
    env[name] = value
  end
  env.DATABASE_URL, env.KAFKA_BROKERS, env.SPEC_LOGS = nil, nil, nil
  for name, value in pairs(more or {}) do
    env[name] = value
  end
  return env
end

local function answers(port)
  local connection = socket.connect("127.0.0.1", port)
  if connection then
    connection:close()
  end
  return connection ~= nil
end

local function append(path, text)
  local file = assert(io.open(path, "a"))
  file:write(text)
  file:close()
end

describe("scripts/demo", function()
  local demo

  local function wait_for(pattern, seconds)
    return wait.till(("it says %q"):format(pattern), seconds, function()
      demo:must_run()
      return demo:output():match(pattern)
    end)
  end

  after_each(function()
    if demo then
      demo:kill()
      demo = nil
    end
  end)

  it("proves a recovery with --once, and ends with 0", function()
    local code, output = process.run {
      argv = { "scripts/demo", "--once" }, env = environment(), seconds = 240,
    }
    assert.equal(0, code, output)
    assert.is_truthy(output:find('with "complete": true.\n', 1, true), output)
    assert.is_truthy(output:find("Proved: ", 1, true), output)
  end)

  it("ends with 1 and the reason when it cannot start", function()
    local code, output = process.run {
      argv = { "scripts/demo", "--once" }, seconds = 240,
      env = environment { DATABASE_URL = "postgresql://127.0.0.1:1/none" },
    }
    assert.equal(1, code, output)
    assert.is_truthy(output:find("demo: .-scripts/migrate:.-port 1 failed"), output)
  end)

  it("shows gaps made and healed, an edit that is live, one that is refused, and leaves nothing",
    function()
      demo = process.spawn { name = "demo", argv = { "scripts/demo" }, env = environment() }
      local database = wait_for("PostgreSQL +private, port (%d+)", 240)
      local broker = wait_for("embedded, 127%.0%.0%.1:(%d+)", 60)
      local api = wait_for("service +http://127%.0%.0%.1:(%d+)", 60)
      wait_for('healed: asked the API, got %d+ candles, "complete": true', 60)
      append("build/demo/lua/lib/candle.lua", "\n-- edited\n")
      wait_for("rules generation 2: the last edit is live", 60)
      append("build/demo/lua/init.lua", "oops\n")
      wait_for("rules generation 2: the edit of %d+ s ago is refused: init%.lua:%d+:", 60)
      assert.equal(200, assert(http.get(tonumber(api), "/health")).status)

      assert.same({ code = 0 }, demo:stop(60, "HUP"))
      for _, port in ipairs { database, broker, api } do
        assert.is_false(answers(tonumber(port)))
      end
      assert.is_truthy(demo:output():find("All that was started has ended.", 1, true))
    end)
end)
