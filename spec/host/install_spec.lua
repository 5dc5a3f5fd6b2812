-- What cmake --install puts somewhere runs from there, and so does what is in the Debian package.
local http = require "spec.support.http"
local ports = require "spec.support.ports"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local socket = require "posix.sys.socket"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local BUILD = service.program():match "^(.*)/[^/]+$"

-- From a directory where nothing else could be found.
local function run(argv, env)
  return process.run {
    argv = argv, directory = "/", seconds = 60,
    env = env or { PATH = os.getenv "PATH", DATABASE_URL = "postgresql://127.0.0.1:1/none" },
  }
end

local function must(argv, env)
  local code, output = run(argv, env)
  assert(code == 0, output)
  return output
end

local function absolute(path)
  return path:find "^/" and path or unistd.getcwd() .. "/" .. path
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("an installed core-service", function()
  local prefix

  lazy_setup(function()
    prefix = process.directory()
    must { "cmake", "--install", absolute(BUILD), "--prefix", prefix }
  end)

  it("finds the rules that were installed with it, and they pass", function()
    local output = must { prefix .. "/bin/core-service", "check" }
    assert.is_truthy(output:find("ok: ", 1, true), output)
    local help = must { prefix .. "/bin/core-service", "--help" }
    assert.is_truthy(help:find(prefix .. "/share/core-service/lua]", 1, true), help)
  end)

  it("brings its migrations", function()
    local database = postgres.shared():database "install"
    local env = { PATH = os.getenv "PATH", DATABASE_URL = database.url }
    local program = prefix .. "/bin/core-service-migrate"
    assert.is_truthy(must({ program }, env):find("applied 004_ingest.sql", 1, true))
    assert.is_truthy(must({ program }, env):find("present 004_ingest.sql", 1, true))
    database:drop()
  end)

  it("has a manual and a unit that name where it is", function()
    local unit = read(prefix .. "/lib/systemd/system/core-service.service")
    assert.is_truthy(unit:find("\nExecStart=" .. prefix .. "/bin/core-service\n", 1, true))
    assert.is_nil(unit:find "@%u+@")
    local manual = must { "zcat", prefix .. "/share/man/man8/core-service.8.gz" }
    assert.is_truthy(manual:find(prefix .. "/share/core-service/lua", 1, true))
    assert.is_nil(manual:find "@%u+@")
  end)

  it("tells the service manager when it is ready and when it stops", function()
    local directory = process.directory()
    local path = directory .. "/notify"
    local manager = assert(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0))
    assert(socket.bind(manager, { family = socket.AF_UNIX, path = path }))
    assert(socket.setsockopt(manager, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 20, 0))
    local port, admin_port = ports.free(), ports.free()
    local env = {
      PATH = os.getenv "PATH", NOTIFY_SOCKET = path, HOST = "127.0.0.1", PORT = port,
      ADMIN_PORT = admin_port, DATABASE_URL = postgres.shared():migrated("install").url,
      INGEST_WORKERS = 0,
    }
    local running = process.spawn {
      argv = { prefix .. "/bin/core-service" }, env = env, directory = "/",
      log = absolute(process.log_path "installed"),
    }
    assert.equal("READY=1", assert(socket.recv(manager, 4096)):match "^[^\n]+")
    assert.equal(200, assert(http.get(port, "/health")).status)
    wait.till("it is ready", 20, function()
      running:must_run()
      return run({ prefix .. "/bin/core-service", "health" }, env) == 0
    end)
    running:signal "TERM"
    assert.equal("STOPPING=1", assert(socket.recv(manager, 4096)))
    assert.same({ code = 0 }, running:wait(15))
    unistd.close(manager)
    assert.equal(1, (run({ prefix .. "/bin/core-service", "health" }, env)))
  end)
end)

describe("the Debian package", function()
  local package

  lazy_setup(function()
    local directory = process.directory()
    local output = must { "cpack", "--config", absolute(BUILD) .. "/CPackConfig.cmake", "-B",
      directory }
    package = assert(output:match "package: (%S+%.deb) generated", output)
  end)

  it("has the program, what it needs to run and what explains it", function()
    local contents = must { "dpkg-deb", "--contents", package }
    for _, path in ipairs { "bin/core-service", "bin/core-service-migrate",
      "share/core-service/lua/init.lua", "share/core-service/migrations/004_ingest.sql",
      "share/core-service/prometheus/alerts.yml", "share/man/man8/core-service.8.gz",
      "share/doc/core-service/PHASE2_DEPLOYMENT.md", "share/doc/core-service/copyright",
      "share/doc/core-service/changelog.gz",
      "lib/systemd/system/core-service.service" } do
      assert.is_truthy(contents:find(" ./usr/" .. path .. "\n", 1, true), path .. "\n" .. contents)
    end
    assert.is_nil(contents:find "spec")
  end)

  it("asks for the libraries that it was linked with", function()
    local depends = must { "dpkg-deb", "--field", package, "Depends" }
    for _, name in ipairs { "lua-cjson", "libpq5", "librdkafka1", "libluajit", "libcjose0" } do
      assert.is_truthy(depends:find(name, 1, true), depends)
    end
  end)

  it("has a program that finds its rules", function()
    local root = process.directory()
    must { "dpkg-deb", "--extract", package, root }
    local output = must { root .. "/usr/bin/core-service", "check" }
    assert.is_truthy(output:find("ok: ", 1, true), output)
    assert.is_truthy(read(root .. "/usr/lib/systemd/system/core-service.service"):find(
      "\nExecStart=/usr/bin/core-service\n", 1, true))
  end)
end)
