-- Who asks the same at the same moment: one statement, whose rows are everybody's answer.
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local socket = require "socket"

local REQUESTS = 20

local INIT = [[return { endpoints = { require "endpoints.now" }, streams = {} }]]
local ENDPOINT = [[
return {
  method = "GET",
  paths = { "/now" },
  queries = { { sql = "select clock_timestamp()::text as now, pg_sleep(0.3)::text", types = {} } },
  reply = function(_, _, results) return 200, { now = results[1][1].now } end,
}
]]

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

describe("requests that ask the same at the same moment", function()
  it("share one statement, whoever of them leaves", function()
    local directory = process.directory()
    os.execute("mkdir " .. directory .. "/endpoints")
    write(directory .. "/init.lua", INIT)
    write(directory .. "/endpoints/now.lua", ENDPOINT)
    local db = postgres.shared():migrated "shared_queries"
    local running = service.start {
      database = db, env = { LUA_DIR = directory, INGEST_WORKERS = 0, HTTP_THREADS = 1 },
    }
    finally(function()
      running:kill()
      db:drop()
    end)

    local clients = {}
    for i = 1, REQUESTS do
      clients[i] = assert(socket.connect("127.0.0.1", running.port))
      clients[i]:settimeout(10)
    end
    for _, client in ipairs(clients) do
      client:send "GET /now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    end
    socket.sleep(0.05)
    clients[1]:setoption("linger", { on = true, timeout = 0 }) -- gone, not only silent
    clients[1]:close()
    local answers = {}
    for i = 2, REQUESTS do
      answers[clients[i]:receive("*a"):match "\r\n\r\n(.*)"] = true
      clients[i]:close()
    end
    local body = next(answers)
    assert.is_truthy(body:find '"now":"', body)
    assert.is_nil(next(answers, body))
    assert.equal(REQUESTS - 1, running:metric "core_service_http_shared_queries_total")
    assert.equal(1, running:metric "core_service_http_abandoned_total")
  end)
end)
