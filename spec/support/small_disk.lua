-- A file system of a few megabytes, seen only by the processes that are run within it: when they
-- are gone, so is it, whatever happens.
local process = require "spec.support.process"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local small_disk = {}
local Disk = {}
Disk.__index = Disk

-- Mounts, says so, and lives.
local holder = [[
mount -t tmpfs -o "size=$1" small_disk "$2" && touch "$2/mounted" && exec sleep 1000000]]

-- nil and the reason where mounting is refused.
function small_disk.new(megabytes)
  if unistd.geteuid() ~= 0 then
    return nil, "only root may mount a small file system"
  end
  local directory = process.directory()
  local keeper = process.spawn {
    name = "small_disk", argv = { "unshare", "--mount", "--propagation", "private", "sh", "-c",
      holder, "sh", megabytes .. "m", directory },
  }
  local self = setmetatable({
    keeper = keeper, directory = directory,
    -- for programs to be run within it
    within = { "nsenter", "--target", tostring(keeper.pid), "--mount", "--" },
    -- the same directory for those that are not
    from_outside = ("/proc/%d/root%s"):format(keeper.pid, directory),
  }, Disk)
  local fine, why = pcall(wait.till, "a small file system is mounted", 10, function()
    keeper:must_run()
    return unistd.access(self.from_outside .. "/mounted")
  end)
  if not fine then
    keeper:kill()
    return nil, tostring(why)
  end
  assert(os.remove(self.from_outside .. "/mounted"))
  return self
end

-- Why there can be none; nil when there can.
function small_disk.impossible()
  local one, why = small_disk.new(1)
  if one then
    one:close()
  end
  return why
end

function Disk:make_directory(name)
  local path = self.from_outside .. "/" .. name
  assert(os.execute(("mkdir %s && chown postgres:postgres %s"):format(path, path)) == 0)
  return self.directory .. "/" .. name
end

function Disk:free_kilobytes()
  local pipe = io.popen("stat -f -c '%f %S' " .. self.from_outside)
  local blocks, size = pipe:read("*a"):match "(%d+) (%d+)"
  pipe:close()
  return blocks * size / 1024
end

-- Takes what is free but for so much.
function Disk:fill(all_but_kilobytes)
  local kilobytes = math.floor(self:free_kilobytes() - all_but_kilobytes)
  assert(os.execute(("head -c %dK /dev/zero >%s/filler"):format(kilobytes, self.from_outside)) == 0)
end

function Disk:free()
  assert(os.remove(self.from_outside .. "/filler"))
end

-- What runs within it has ended, or ends badly.
function Disk:close()
  self.keeper:kill()
end

return small_disk
