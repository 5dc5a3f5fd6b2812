-- Rules that never end, in every hook of the real program: `core-service try` and `check` need
-- neither Kafka nor database.
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local LOOPS = {
  ["an endless loop"] = "while true do end",
  ["an endless loop inside pcall"] = "while true do pcall(function() while true do end end) end",
}
local LIMIT_MS = { load = 400, map = 200, request = 200, reply = 200 }

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- One stream and one endpoint; `bodies` are statements at the beginning of each hook.
local function rules(bodies)
  local dir = process.directory()
  assert(os.execute(("mkdir %s/streams %s/endpoints"):format(dir, dir)) == 0)
  write(dir .. "/init.lua", [[return {
    streams = { require "streams.s" }, endpoints = { require "endpoints.e" },
  }]])
  write(dir .. "/streams/s.lua", (bodies.load or "") .. [[
    return {
      name = "S", topic = "s", fields = { id = "int8" }, shapes = { { id = "id" } },
      tables = { t = { columns = { id = "int8" }, key = { "id" } } },
      map = function(m)
        if m.id == 13 then ]] .. (bodies.map or "") .. [[ end
        return { t = { id = m.id } }
      end,
    }]])
  write(dir .. "/endpoints/e.lua", ([[
    return {
      method = "GET", paths = { "/e" },
      request = function(req) if req.query.bad then %s end return {} end,
      queries = {
        {
          sql = "select 1", types = {},
          params = function(req) if req.query.bad then %s end return nil end,
        },
      },
      reply = function(req) if req.query.bad then %s end return 200, { fine = true } end,
    }]]):format(bodies.request or "", bodies.params or "", bodies.reply or ""))
  return dir
end

local function env(dir)
  return {
    LUA_DIR = dir, RULES_LOAD_MS = LIMIT_MS.load, RULES_MAP_MS = LIMIT_MS.map,
    RULES_REQUEST_MS = LIMIT_MS.request, RULES_REPLY_MS = LIMIT_MS.reply,
  }
end

-- CPU time of a process so far, in ms.
local function cpu_ms(pid)
  local file = assert(io.open(("/proc/%d/stat"):format(pid)))
  local fields = {}
  for field in file:read("*a"):match("^.*%) (.*)$"):gmatch "%S+" do fields[#fields + 1] = field end
  file:close()
  return (tonumber(fields[12]) + tonumber(fields[13])) * 10
end

for name, loop in pairs(LOOPS) do
  describe(name, function()
    it("while loading is refused, with file and line", function()
      local code, output = service.run({ "check" }, env(rules { load = loop .. "\n" }))
      assert.are.equal(1, code)
      assert.is_truthy(output:find "streams/s%.lua:1: stopped after 400 ms of CPU time", output)
    end)

    it("in map() costs its message, and not the neighbours", function()
      local lines = os.tmpname()
      finally(function() os.remove(lines) end)
      write(lines, '{"id":12}\n{"id":13}\n{"id":14}\n')
      local code, output = service.run({ "try", "S" }, env(rules { map = loop }), lines)
      assert.are.equal(0, code)
      local found = {}
      for line in output:gmatch "{[^\n]+" do found[#found + 1] = line end
      assert.are.equal('{"rows":{"t":[{"id":12}]}}', found[1])
      assert.is_truthy(found[2]:find "stopped after 200 ms of CPU time", found[2])
      assert.is_truthy(found[2]:find('"stage":"map"', 1, true))
      assert.are.equal('{"rows":{"t":[{"id":14}]}}', found[3])
    end)

    for _, hook in ipairs { "request", "params", "reply" } do
      it(("in %s() costs its request within twice the limit, and no other"):format(hook), function()
        local settings = env(rules { [hook] = loop })
        settings.INGEST_WORKERS, settings.HTTP_THREADS = "0", "1"
        settings.DATABASE_URL = "postgresql://nobody@127.0.0.1:1/none"
        local running = service.start { env = settings, wait = "alive" }
        finally(function() running:kill() end)
        wait.till("the rules answer", 10, function() return running:get("/e").status == 200 end)

        local before = cpu_ms(running.process.pid)
        local answer = running:get "/e?bad=1"
        local used = cpu_ms(running.process.pid) - before
        assert.are.equal(500, answer.status)
        assert.are.same({ error = "Internal server error" }, answer.json)
        assert.is_true(used <= 2 * LIMIT_MS.reply, used .. " ms")
        assert.are.equal(200, running:get("/e").status)
        running:wait_for_log "endpoints/e.lua:"
        assert.are.equal(1, running:metric(
          ('core_service_rules_limit_total{kind="cpu",hook="%s"}'):format(hook)))
      end)
    end
  end)
end

describe("core-service check", function()
  it("says that it had no database to ask", function()
    local code, output = service.run({ "check" }, {
      DATABASE_URL = "postgresql://nobody@127.0.0.1:1/none",
    })
    assert.are.equal(0, code)
    assert.is_truthy(output:find("examples passed", 1, true), output)
    assert.is_truthy(output:find("schema not checked, no database: ", 1, true), output)
  end)

  it("takes the rules of --lua", function()
    local code, output = service.run { "check", "--lua", "/nonexistent" }
    assert.are.equal(1, code)
    assert.is_truthy(output:find("/nonexistent", 1, true), output)
  end)
end)

describe("core-service try", function()
  it("names the streams that there are, for one that is not", function()
    local code, output = service.run { "try", "Nobody" }
    assert.are.equal(1, code)
    assert.is_truthy(output:find('no stream "Nobody"; there are: MarketDataConsumerV2', 1, true),
      output)
  end)

  it("answers a request with --endpoint, by the rules on disk", function()
    local away = { DATABASE_URL = "postgresql://nobody@127.0.0.1:1/none",
      DB_CONNECT_TIMEOUT_MS = 300 }
    local code, output = service.run({ "try", "--endpoint", "GET /v1/klines/missed" }, away)
    assert.are.equal(1, code)
    assert.is_truthy(output:find("400", 1, true), output)
    assert.is_truthy(output:find('{"error":"Symbol is required"}', 1, true), output)
  end)
end)
