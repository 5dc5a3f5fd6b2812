-- Processes and directories of a run, and the promise that nothing of them stays behind: a watchdog
-- in a session of its own reads their names from a pipe; when the pipe closes, because this process
-- ended in whatever way, it ends what is left and removes the directories.
local fcntl = require "posix.fcntl"
local interrupt = require "spec.support.interrupt"
local signal = require "posix.signal"
local stdlib = require "posix.stdlib"
local sys_wait = require "posix.sys.wait"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local process = {}
local Process = {}
Process.__index = Process

local recent = {} -- what runs, and what ended since the spec began
local watchdog -- write end of its pipe
local watchdog_pid

local watchdog_script = [[
trap '' INT TERM HUP
groups= dirs=
while read -r what value; do
  case $what in
    group) groups="$groups $value" ;;
    gone) groups=$(printf '%s' " $groups " | sed "s/ [A-Z]*:$value / /") ;;
    dir) dirs="$dirs $value" ;;
  esac
done
left() { for g in $groups; do kill -0 -- "-${g#*:}" 2>/dev/null && return 0; done; return 1; }
for g in $groups; do kill "-${g%:*}" "${g#*:}" 2>/dev/null; done
tries=0
while left && [ $tries -lt 60 ]; do tries=$((tries + 1)); sleep 0.05; done
for g in $groups; do kill -KILL -- "-${g#*:}" 2>/dev/null; done
sleep 0.05
[ -z "$dirs" ] || rm -rf $dirs
]]

local function close_inherited()
  for fd = 3, 1023 do
    unistd.close(fd)
  end
end

local function start_watchdog()
  local read_end, write_end = unistd.pipe()
  fcntl.fcntl(write_end, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
  watchdog_pid = unistd.fork()
  if watchdog_pid == 0 then
    unistd.setpid("s")
    unistd.dup2(read_end, 0)
    local null = fcntl.open("/dev/null", fcntl.O_RDWR)
    unistd.dup2(null, 1)
    unistd.dup2(null, 2)
    close_inherited()
    unistd.execp("sh", { "-c", watchdog_script })
    unistd._exit(127)
  end
  unistd.close(read_end)
  return write_end
end

local function tell_watchdog(line)
  watchdog = watchdog or start_watchdog()
  assert(unistd.write(watchdog, line .. "\n"))
end

-- What is left ends now, and private directories are removed: for who has to be sure before its own
-- end. Nothing may be started after it.
function process.finish()
  if watchdog then
    unistd.close(watchdog)
    sys_wait.wait(watchdog_pid)
    watchdog = nil
  end
end

-- A private directory that is removed at the end.
function process.directory()
  local path = assert(stdlib.mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/core-service-XXXXXX"))
  tell_watchdog("dir " .. path)
  return path
end

local log_count = 0

-- Where a process' output goes: kept after the run, emptied by the next scripts/test.
function process.log_path(name)
  local directory = os.getenv("SPEC_LOGS") or "build/test/logs"
  os.execute("mkdir -p " .. directory)
  log_count = log_count + 1
  return ("%s/%s-%d-%d.log"):format(directory, name, unistd.getpid(), log_count)
end

local function replace_environment(env)
  for name in pairs(stdlib.getenv()) do
    stdlib.setenv(name, nil)
  end
  for name, value in pairs(env) do
    stdlib.setenv(name, tostring(value))
  end
end

local function become(spec)
  unistd.setpid("p", 0, 0)
  local flags = fcntl.O_WRONLY + fcntl.O_CREAT + fcntl.O_APPEND
  local log = assert(fcntl.open(spec.log, flags, tonumber("644", 8)))
  unistd.dup2(assert(fcntl.open(spec.stdin or "/dev/null", fcntl.O_RDONLY)), 0)
  unistd.dup2(log, 1)
  unistd.dup2(log, 2)
  close_inherited()
  for _, number in ipairs { signal.SIGINT, signal.SIGTERM, signal.SIGPIPE } do
    signal.signal(number, signal.SIG_DFL)
  end
  interrupt.unwatch()
  if spec.env then
    replace_environment(spec.env)
  end
  if spec.directory then
    assert(unistd.chdir(spec.directory))
  end
  local arguments = {}
  for i = 2, #spec.argv do
    arguments[i - 1] = spec.argv[i]
  end
  local _, why = unistd.execp(spec.argv[1], arguments)
  io.stderr:write("cannot start ", spec.argv[1], ": ", tostring(why), "\n")
end

-- Starts a program in a process group of its own:
--   argv       program and arguments
--   name       for logs and messages
--   env        the whole environment; nil: this process' own
--   stdin      a file; nil: nothing
--   log        a file, appended to; nil: a new one
--   directory  to work in
--   farewell   the signal that ends it when this process is gone: "KILL"
function process.spawn(spec)
  spec.name = spec.name or spec.argv[1]:match("[^/]+$")
  spec.log = spec.log or process.log_path(spec.name)
  watchdog = watchdog or start_watchdog()
  local pid = assert(unistd.fork())
  if pid == 0 then
    pcall(become, spec)
    unistd._exit(127)
  end
  unistd.setpid("p", pid, pid) -- also here: whoever comes first
  tell_watchdog(("group %s:%d"):format(spec.farewell or "KILL", pid))
  local self = setmetatable({ pid = pid, name = spec.name, log = spec.log }, Process)
  recent[#recent + 1] = self
  return self
end

-- nil while it runs; then { code = N } or { signal = N }.
function Process:status()
  if not self.ended then
    local pid, how, value = sys_wait.wait(self.pid, sys_wait.WNOHANG)
    if pid == self.pid and how ~= "running" then
      self.ended = how == "exited" and { code = value } or { signal = value }
      tell_watchdog("gone " .. pid)
    end
  end
  return self.ended
end

function Process:is_running()
  return self:status() == nil
end

-- Within a condition of wait.till: without this process it is hopeless.
function Process:must_run()
  if not self:is_running() then
    wait.hopeless(self.name .. " ended:\n" .. self:tail(10))
  end
end

-- Its status when it ends by itself within `seconds`; else an error.
function Process:wait(seconds)
  return wait.within(self.name .. " ends", seconds or 10, function()
    return self:status()
  end)
end

function Process:signal(name)
  if self:is_running() then
    signal.kill(self.pid, signal["SIG" .. name])
  end
end

-- SIGKILL to it and all it started; returns when it is gone.
function Process:kill()
  if self:is_running() then
    signal.kill(-self.pid, signal.SIGKILL)
    self:wait(60)
  end
end

-- A signal (TERM), then its status; killed when it takes longer than `seconds`, which is an error.
function Process:stop(seconds, name)
  self:signal(name or "TERM")
  local fine, result = pcall(self.wait, self, seconds or 15)
  if not fine then
    self:kill()
    error(result, 2)
  end
  return result
end

function Process:output()
  local file = io.open(self.log)
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
end

function Process:tail(lines)
  local all = {}
  for line in self:output():gmatch("[^\n]+") do
    all[#all + 1] = #line > 300 and line:sub(1, 300) .. "..." or line
  end
  return table.concat(all, "\n", math.max(1, #all - (lines or 40) + 1))
end

-- Runs a program to its end: exit code (128 + signal), output.
function process.run(spec)
  spec.log = spec.log or os.tmpname()
  local self = process.spawn(spec)
  local fine, status = pcall(self.wait, self, math.max(spec.seconds or 60, 60))
  local output = self:output()
  os.remove(spec.log)
  if not fine then
    self:kill()
    error(status .. "\n" .. output, 2)
  end
  return status.code or 128 + status.signal, output
end

-- What a process on this machine's user "postgres" needs, when this one is root: PostgreSQL refuses
-- to run as root.
function process.as_postgres(argv)
  if unistd.geteuid() ~= 0 then
    return argv
  end
  local all = { "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--" }
  for _, argument in ipairs(argv) do
    all[#all + 1] = argument
  end
  return all
end

-- A spec begins: what ended before has nothing to do with it.
function process.forget_ended()
  local kept = {}
  for _, self in ipairs(recent) do
    if self:is_running() then
      kept[#kept + 1] = self
    end
  end
  recent = kept
end

-- The last lines of what runs, or ended since the spec began; or only of the latter.
function process.tails(lines, only_ended)
  local parts = {}
  for _, self in ipairs(recent) do
    local text = self:tail(lines)
    if text ~= "" and not (only_ended and self:is_running()) then
      parts[#parts + 1] = ("---- %s (%s)\n%s"):format(self.name, self.log, text)
    end
  end
  return table.concat(parts, "\n")
end

return process
