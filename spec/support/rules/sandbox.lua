-- Loads the files of a rules directory as the host does: with the same library functions, `require`
-- inside the directory only, globals that cannot be assigned and modules that are read-only once
-- everything is loaded.
local OFFERED = {
  "assert", "error", "getmetatable", "ipairs", "pcall", "rawequal", "rawget", "select",
  "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
}
local OFFERED_OF = {
  string = {
    "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse",
    "sub", "upper",
  },
  table = { "concat", "insert", "remove", "sort" },
  os = { "clock", "date", "difftime", "time" },
}

local function pick(from, names)
  local picked = {}
  for _, name in ipairs(names) do picked[name] = from[name] end
  return picked
end

local function copy(from)
  local copied = {}
  for name, value in pairs(from) do copied[name] = value end
  return copied
end

local function read_only(_, key)
  error(("the table is read-only: field '%s'"):format(tostring(key)), 2)
end

local Sandbox = {}
Sandbox.__index = Sandbox

-- An array stays where it is (so that # counts it), the contents of other tables move behind a
-- metatable.
function Sandbox:freeze(value)
  if type(value) ~= "table" or debug.getmetatable(value) then return value end
  local contents = value
  if #value == 0 then
    contents = {}
    for key, member in pairs(value) do contents[key] = member end
    for key in pairs(contents) do value[key] = nil end
  end
  self.contents[value] = contents
  setmetatable(value, {
    __index = contents ~= value and contents or nil,
    __newindex = read_only,
    __metatable = false,
  })
  for _, member in pairs(contents) do self:freeze(member) end
  return value
end

-- What a read-only table holds, for pairs and next; any other table is itself.
function Sandbox:thaw(value)
  return self.contents[value] or value
end

function Sandbox:globals(cs)
  local shared = pick(_G, OFFERED)
  for library, names in pairs(OFFERED_OF) do shared[library] = pick(_G[library], names) end
  shared.math, shared.bit = copy(math), copy(require "bit")
  shared.cs = cs
  shared.next = function(value, key) return next(self:thaw(value), key) end
  shared.pairs = function(value) return shared.next, value end
  shared.rawset = function(value, key, member)
    if self.contents[value] then read_only(value, key) end
    return rawset(value, key, member)
  end
  shared.require = function(name) return self:require(name) end
  for _, library in ipairs { "string", "table", "os", "math", "bit", "cs" } do
    self:freeze(shared[library])
  end
  shared._G = setmetatable({}, { __index = shared, __newindex = read_only, __metatable = false })
  return shared
end

function Sandbox:require(name)
  local loaded = self.loaded[name]
  if loaded ~= nil then
    if loaded == self then error(("require '%s': it is being loaded already"):format(name), 3) end
    return loaded
  end
  if self.closed then
    error(("require '%s': modules are loaded when the file is loaded, not later"):format(name), 3)
  end
  if not name:find("^[%w_-][%w_.-]*$") or name:find("..", 1, true) then
    error(("require '%s': not the name of a module"):format(name), 3)
  end
  local path = name:gsub("%.", "/") .. ".lua"
  local text = self:read(path)
  if not text then error(("require '%s': there is no file %s"):format(name, path), 3) end
  self.loaded[name] = self
  local value = self:run(path, text)
  if value == nil then value = true end
  self.loaded[name] = value
  return value
end

function Sandbox:read(path)
  if self.files[path] then return self.files[path] end
  local file = io.open(self.dir .. "/" .. path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

function Sandbox:run(path, text)
  local chunk, trouble = loadstring(text, "@" .. path)
  if not chunk or text:byte() == 27 then error(trouble or path .. ": is bytecode", 0) end
  setfenv(chunk, setmetatable({}, {
    __index = self.shared,
    __newindex = function(_, name)
      error(("global '%s' is assigned: write `local %s`"):format(tostring(name), tostring(name)), 2)
    end,
    __metatable = false,
  }))
  return chunk()
end

-- Nothing is loaded any more, and what is loaded stays as it is.
function Sandbox:close()
  self.closed = true
  for _, value in pairs(self.loaded) do self:freeze(value) end
end

local sandbox = {}

-- `files` (path -> text) stand before those of the directory.
function sandbox.open(dir, cs, files)
  local self = setmetatable({
    dir = dir,
    files = files or {},
    loaded = {},
    contents = setmetatable({}, { __mode = "k" }),
  }, Sandbox)
  self.shared = self:globals(cs)
  return self
end

return sandbox
