local http = require "spec.support.http"
local ports = require "spec.support.ports"
local service = require "spec.support.service"

-- Nobody listens there.
local function nowhere()
  return {
    url = ("postgresql://postgres@127.0.0.1:%d/postgres"):format(ports.free()),
    bootstrap = "127.0.0.1:" .. ports.free(),
  }
end

describe("core-service", function()
  it("lists every setting with its default under --help", function()
    local code, output = service.run { "--help" }
    assert.are.equal(0, code)
    for _, name in ipairs { "PORT", "DATABASE_URL", "KAFKA_BROKERS", "MARKET_DATA_TOPIC",
      "MARKET_CONSUMER_BATCH_SIZE", "MARKET_CONSUMER_FLUSH_MS", "INGEST_WORKERS", "LUA_DIR" } do
      assert.is_truthy(output:find(name, 1, true), name .. " is not in --help")
    end
    assert.is_truthy(output:find("8000", 1, true))
  end)

  it("tells its version", function()
    local code, output = service.run { "--version" }
    assert.are.equal(0, code)
    assert.is_truthy(output:match "^core%-service %d+%.%d+%.%d+\n$")
  end)

  it("ends with 2 and a message for an argument it does not know", function()
    local code, output = service.run { "frobnicate" }
    assert.are.equal(2, code)
    assert.is_truthy(output:find("frobnicate", 1, true))
  end)

  for _, case in ipairs {
    { "PORT", "eighty" },
    { "PORT", "70000" },
    { "LOG_LEVEL", "loud" },
    { "MARKET_CONSUMER_BATCH_SIZE", "-1" },
    { "ADMIN_HOST", "0.0.0.0" }, -- without ADMIN_TOKEN
  } do
    local name, value = case[1], case[2]
    it(("ends with 2 and names the setting for %s=%s"):format(name, value), function()
      local code, output = service.run({}, { [name] = value })
      assert.are.equal(2, code)
      assert.is_truthy(output:find(name, 1, true), output)
    end)
  end

  it("never prints the value of a secret setting", function()
    local code, output = service.run({}, {
      DATABASE_URL = "postgresql://u:s3cr3t-word@127.0.0.1/x", PORT = "eighty",
    })
    assert.are.equal(2, code)
    assert.is_nil(output:find("s3cr3t-word", 1, true))
  end)

  it("ends with 2 when its port is taken", function()
    local port, release = ports.taken()
    finally(release)
    local away = nowhere()
    local code, output = service.run({}, {
      PORT = port, HOST = "127.0.0.1", ADMIN_PORT = ports.free(), DATABASE_URL = away.url,
      KAFKA_BROKERS = away.bootstrap,
    })
    assert.are.equal(2, code)
    assert.is_truthy(output:find(tostring(port), 1, true), output)
  end)
end)

describe("core-service without its database and its broker", function()
  local away, server

  lazy_setup(function()
    away = nowhere()
    server = service.start { database = away, broker = away, wait = "alive" }
  end)
  lazy_teardown(function()
    server:kill()
  end)

  it("answers /health as the original did", function()
    local answer = server:get "/health"
    assert.are.equal(200, answer.status)
    assert.are.same({ status = "ok", service = "core-service" }, answer.json)
  end)

  it("says on /readyz that it is not ready, and why", function()
    local answer = server:get "/readyz"
    assert.are.equal(503, answer.status)
    assert.is_truthy(answer.body:lower():find "database", answer.body)
    assert.are.equal(503, server:admin("/readyz").status)
  end)

  it("answers a question with 503 and Retry-After", function()
    local answer = server:get "/api/v1/klines/missed?symbol=BTCUSDT&fromSeq=1&toSeq=2"
    assert.are.equal(503, answer.status)
    assert.is_truthy(tonumber(answer.headers["retry-after"]))
    assert.is_string(answer.json.error)
  end)

  it("logs that it waits for the database", function()
    server:wait_for_log(away.url:match "127.0.0.1:(%d+)", 15)
  end)

  it("serves metrics whose names are Prometheus' own way of naming", function()
    local answer = assert(http.get(server.admin_port, "/metrics"))
    assert.are.equal(200, answer.status)
    local families = 0
    for name, kind in answer.body:gmatch "# TYPE (%S+) (%S+)" do
      families = families + 1
      assert.is_truthy(name:find "^core_service_[a-z0-9_]+$", name)
      assert.are.equal(kind == "counter", name:find "_total$" ~= nil, name)
      assert.is_nil(name:find "_ms$" or name:find "milliseconds", name)
      assert.is_truthy(answer.body:find("# HELP " .. name .. " %S"), name)
    end
    assert.is_true(families > 10)
  end)

  it("may open as many files as the system lets it", function()
    local limits = assert(io.open("/proc/" .. server.process.pid .. "/limits"))
    local soft, hard = limits:read("*a"):match "Max open files%s+(%d+)%s+(%d+)"
    limits:close()
    assert.are.equal(hard, soft)
  end)

  it("ends with 0 on SIGTERM all the same", function()
    server:stop()
  end)
end)
