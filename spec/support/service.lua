-- The service under test: build/core-service, or the one CORE_SERVICE names (a sanitizer build).
local http = require "spec.support.http"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local service = {}
local Service = {}
Service.__index = Service

local START_SECONDS = 30

function service.program()
  return os.getenv "CORE_SERVICE" or "build/core-service"
end

-- What a service may see of this environment: nothing but what a program needs.
local function environment(extra)
  local env = { LUA_DIR = "lua" }
  for _, name in ipairs { "PATH", "HOME", "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS" } do
    env[name] = os.getenv(name)
  end
  for name, value in pairs(extra or {}) do
    env[name] = value
  end
  return env
end

-- Runs it to its end, within `seconds` (30): exit code, output.
function service.run(arguments, env, stdin, seconds)
  local argv = { service.program() }
  for _, argument in ipairs(arguments or {}) do
    argv[#argv + 1] = argument
  end
  return process.run { argv = argv, env = environment(env), stdin = stdin, seconds = seconds or 30 }
end

-- Starts it. options:
--   database, broker   of spec.support.postgres and .kafka
--   topic, group       market data topic and consumer group
--   port, admin_port   nil: free ones
--   env                further settings
--   wait               "ready" (default: /readyz says 200), "alive" (/healthz does), false
function service.start(options)
  local self = setmetatable({ options = options }, Service)
  self.port = options.port or ports.free()
  self.admin_port = options.admin_port or ports.free()
  local env = {
    PORT = self.port,
    HOST = "127.0.0.1",
    ADMIN_PORT = self.admin_port,
    DATABASE_URL = options.database and options.database.url,
    KAFKA_BROKERS = options.broker and options.broker.bootstrap,
    MARKET_DATA_TOPIC = options.topic,
    MARKET_CONSUMER_GROUP_ID = options.group,
  }
  for name, value in pairs(options.env or {}) do
    env[name] = value
  end
  self.env = environment(env)
  self.log = process.log_path "core-service"
  self:start()
  return self
end

-- Again, after a stop or kill; with the same ports and settings.
function Service:start()
  self.process = process.spawn {
    name = "core-service", argv = { service.program() }, env = self.env, log = self.log,
  }
  local how = self.options.wait
  if how ~= false then
    local fine, why = pcall(self.wait_for, self, how == "alive" and "/healthz" or "/readyz")
    if not fine then
      self:kill()
      error(why, 2)
    end
  end
end

function Service:wait_for(path, seconds)
  wait.till(path .. " says 200", seconds or START_SECONDS, function()
    self.process:must_run()
    local answer, why = self:admin(path)
    return answer and answer.status == 200, answer and answer.body or why
  end)
end

function Service:get(path, headers)
  return assert(http.get(self.port, path, headers))
end

function Service:admin(path, options)
  return http.request(self.admin_port, path, options)
end

-- The value of a metric on /metrics, by its name with labels as written there; nil when absent.
function Service:metric(name)
  local answer = assert(self:admin "/metrics")
  for line in answer.body:gmatch "[^\n]+" do
    if line:sub(1, #name + 1) == name .. " " then
      return tonumber(line:sub(#name + 2))
    end
  end
end

function Service:text()
  return self.process:output()
end

function Service:wait_for_log(text, seconds)
  wait.till(("the log says %q"):format(text), seconds or 10, function()
    return self:text():find(text, 1, true)
  end)
end

-- SIGTERM; it must end by itself with 0.
function Service:stop(seconds)
  local status = self.process:stop(seconds or 15)
  if status.code ~= 0 then
    error("core-service ended with " .. (status.code or "signal " .. status.signal) .. ":\n"
      .. self.process:tail(40), 2)
  end
end

function Service:kill()
  self.process:kill()
end

return service
