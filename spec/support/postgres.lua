-- A private PostgreSQL cluster: own directory, own port on loopback, ended by the watchdog.
local libpq = require "spec.support.libpq"
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local postgres = {}
local Cluster, Database = {}, {}
Cluster.__index = Cluster
Database.__index = Database

local function program(name)
  local found = io.popen("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1")
  local directory = found:read("*l")
  found:close()
  return directory and directory .. "/" .. name or name
end

-- argv of a program of PostgreSQL, behind what it is to run within.
function Cluster:argv(argv)
  local all = {}
  for _, list in ipairs { self.within, process.as_postgres(argv) } do
    for _, argument in ipairs(list) do
      all[#all + 1] = argument
    end
  end
  return all
end

-- Makes and starts a cluster. options:
--   directory   where (nil: a new private one); it exists and is empty
--   settings    further lines of postgresql.conf, { name = value }
--   initdb      further arguments
--   within      a program and arguments that run PostgreSQL
function postgres.new(options)
  options = options or {}
  local self = setmetatable({
    directory = options.directory or process.directory(),
    port = options.port or ports.free(),
    log = options.log or process.log_path("postgres"), within = options.within or {},
  }, Cluster)
  if unistd.geteuid() == 0 then
    assert(os.execute("chown postgres:postgres " .. self.directory) == 0)
  end
  self.data = self.directory .. "/data"
  self:initdb(options.initdb or {})
  self.settings = {
    port = self.port,
    listen_addresses = "127.0.0.1",
    unix_socket_directories = self.directory,
    fsync = "off", -- a killed process loses nothing by it, only a machine would
    max_connections = 100,
    timezone = "UTC",
  }
  for name, value in pairs(options.settings or {}) do
    self.settings[name] = value
  end
  self:start()
  return self
end

function Cluster:initdb(more)
  local argv = { program "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
    "--locale=C.UTF-8", "--no-sync" }
  for _, argument in ipairs(more) do
    argv[#argv + 1] = argument
  end
  local code, output = process.run { argv = self:argv(argv), directory = "/", seconds = 60 }
  assert(code == 0, output)
end

function Cluster:url(name)
  return ("postgresql://postgres@127.0.0.1:%d/%s"):format(self.port, name or "postgres")
end

function Cluster:start()
  local argv = { program "postgres", "-D", self.data }
  for name, value in pairs(self.settings) do
    argv[#argv + 1] = "-c"
    argv[#argv + 1] = name .. "=" .. tostring(value)
  end
  self.process = process.spawn {
    name = "postgres", argv = self:argv(argv), log = self.log, directory = "/",
    farewell = "QUIT",
  }
  wait.till("PostgreSQL answers", 30, function()
    self.process:must_run()
    return libpq.connect(self:url())
  end)
end

-- `how`: "INT" (fast, default), "QUIT" (immediate: recovery at the next start).
function Cluster:stop(how)
  return self.process:stop(30, how or "INT")
end

-- SIGKILL to the postmaster, and waits until its children have noticed.
function Cluster:kill()
  self.process:kill()
  wait.till("the killed PostgreSQL's children are gone", 20, function()
    local file = io.open(self.data .. "/postmaster.pid")
    local shared = file and file:read("*a"):match("\n%s*%d+%s+(%d+)%s*\n")
    if file then
      file:close()
    end
    return not shared or postgres.attached(shared) == 0
  end)
end

-- How many processes are attached to the shared memory segment with this id.
function postgres.attached(id)
  for line in io.lines("/proc/sysvipc/shm") do
    local _, shmid, _, _, _, _, count = line:match(
      "^%s*(%-?%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s+(%d+)%s+(%d+)")
    if shmid == id then
      return tonumber(count)
    end
  end
  return 0
end

function Cluster:restart(how)
  self:stop(how)
  self:start()
end

local database_count = 0

-- A new, empty database with a name of its own; `options` of CREATE DATABASE.
function Cluster:database(prefix, options)
  database_count = database_count + 1
  local name = ("%s_%d"):format(prefix or "spec", database_count)
  self:admin():exec(("CREATE DATABASE %s %s"):format(name, options or ""))
  return postgres.connect(self:url(name), name, self)
end

-- A new database with all migrations applied, as an operator applies them; further `options` of
-- CREATE DATABASE.
function Cluster:migrated(prefix, options)
  if not self.template then
    local template = self:database "template"
    local env = { PATH = os.getenv "PATH", DATABASE_URL = template.url }
    local code, output = process.run { argv = { "scripts/migrate" }, env = env, seconds = 60 }
    assert(code == 0, output)
    self.template = template.name
  end
  return self:database(prefix, ("TEMPLATE %s %s"):format(self.template, options or ""))
end

function Cluster:admin()
  self.admin_database = self.admin_database or postgres.connect(self:url(), "postgres", self)
  return self.admin_database
end

-- A database that is there.
function postgres.connect(url, name, cluster)
  return setmetatable({ url = url, name = name, cluster = cluster }, Database)
end

function Database:connection()
  if not self.open or not self.open:is_alive() then
    self.open = assert(libpq.connect(self.url))
    assert(self.open:rows("SET client_min_messages = warning; SET timezone = 'UTC'"))
  end
  return self.open
end

-- Rows as { column = text }; NULL is nil. An error of the server is an error here.
function Database:rows(sql)
  local rows, why = self:connection():rows(sql)
  if not rows then
    error(why .. sql, 2)
  end
  return rows
end
Database.exec = Database.rows

-- The one value of a query, as text.
function Database:value(sql)
  local row = self:rows(sql)[1]
  return row and select(2, next(row))
end

function Database:number(sql)
  return tonumber(self:value(sql))
end

function Database:file(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  self:exec(text)
end

-- Disconnects from it; drops it.
function Database:close()
  if self.open then
    self.open:close()
    self.open = nil
  end
end

function Database:drop()
  self:close()
  self.cluster:admin():exec("DROP DATABASE " .. self.name .. " WITH (FORCE)")
end

local shared

-- The cluster that all spec files of a run use, started by the first that asks.
function postgres.shared()
  shared = shared or postgres.new()
  return shared
end

return postgres
