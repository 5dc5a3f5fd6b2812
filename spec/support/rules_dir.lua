-- A directory of rules that a spec edits as an operator does.
local process = require "spec.support.process"

local rules_dir = {}
local Dir = {}
Dir.__index = Dir

local function shell(form, ...)
  local command = form:format(...)
  assert(os.execute(command) == 0, command)
end

-- A copy of `source` (the rules that come with the service).
function rules_dir.copy(source)
  local self = setmetatable({ path = process.directory() .. "/lua" }, Dir)
  shell("cp -r %s %s", source or "lua", self.path)
  return self
end

function Dir:read(name)
  local file = assert(io.open(self.path .. "/" .. name))
  local text = file:read "*a"
  file:close()
  return text
end

-- In place, as a shell's > does.
function Dir:write(name, text)
  local file = assert(io.open(self.path .. "/" .. name, "w"))
  file:write(text)
  file:close()
end

-- As editors do: a new file that is moved over the old one.
function Dir:save(name, text)
  self:write(".new", text)
  shell("mv -T %s/.new %s/%s", self.path, self.path, name)
end

function Dir:delete(name)
  assert(os.remove(self.path .. "/" .. name))
end

-- Replaces the first `old` by `new`; what the file was.
function Dir:edit(name, old, new)
  local before = self:read(name)
  local from, to = before:find(old, 1, true)
  assert(from, old)
  self:save(name, before:sub(1, from - 1) .. new .. before:sub(to + 1))
  return before
end

-- As kubelet does for a ConfigMap: files are links into ..data, which is a link to a directory that
-- is replaced as a whole. From now on this directory is one of those.
function Dir:become_config_map()
  local outside = process.directory()
  shell("mv %s %s/v1 && mkdir %s && ln -s %s/v1 %s/..data", self.path, outside, self.path, outside,
    self.path)
  shell("cd %s && for entry in ..data/*; do ln -s $entry .; done", self.path)
  self.outside, self.version = outside, 1
end

-- The next version of the whole directory, with one file changed, in one stroke.
function Dir:swap(name, old, new)
  local from, to = self.version, self.version + 1
  shell("cp -r %s/v%d %s/v%d", self.outside, from, self.outside, to)
  local next_version = setmetatable({ path = ("%s/v%d"):format(self.outside, to) }, Dir)
  next_version:edit(name, old, new)
  shell("ln -s %s/v%d %s/..new && mv -T %s/..new %s/..data", self.outside, to, self.path,
    self.path, self.path)
  shell("rm -r %s/v%d", self.outside, from)
  self.version = to
end

return rules_dir
