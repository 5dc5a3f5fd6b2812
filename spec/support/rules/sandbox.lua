-- Loads the files of a rules directory as the host does: with the same library functions, `require`
-- inside the directory only, globals that cannot be assigned and modules that are read-only once
-- everything is loaded. Each file that init.lua names is a realm, with its own copy of every module
-- that it requires.
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

-- An array stays where it is (so that # counts it), and so do metamethods (so that a class stays
-- one); the other contents of tables move behind a metatable.
function Sandbox:freeze(value)
  if type(value) ~= "table" or debug.getmetatable(value) then return value end
  local contents = value
  if #value == 0 then
    contents = {}
    for key, member in pairs(value) do contents[key] = member end
    for key in pairs(contents) do
      if type(key) ~= "string" or key:sub(1, 2) ~= "__" then value[key] = nil end
    end
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
  for _, library in ipairs { "string", "table", "os", "math", "bit", "cs" } do
    self:freeze(shared[library])
  end
  shared._G = setmetatable({}, { __index = shared, __newindex = read_only, __metatable = false })
  return shared
end

local function run(path, text, globals)
  local chunk, trouble = loadstring(text, "@" .. path)
  if not chunk or text:byte() == 27 then error(trouble or path .. ": is bytecode", 0) end
  setfenv(chunk, setmetatable({}, {
    __index = globals,
    __newindex = function(_, name)
      error(("global '%s' is assigned: write `local %s`"):format(tostring(name), tostring(name)), 2)
    end,
    __metatable = false,
  }))
  return chunk()
end

-- module name -> what it returned, and the globals that its files see.
function Sandbox:new_realm()
  local realm = { loaded = {}, globals = copy(self.shared) }
  realm.globals.require = function(name) return self:require(name, realm) end
  self.realms[#self.realms + 1] = realm
  return realm
end

-- The realm that a module belongs to when a file of `realm` requires it first.
function Sandbox:realm_of(realm, name)
  if realm ~= self.realms[1] or name == "init" then return realm end
  local own = self:new_realm()
  own.loaded.init = self
  return own
end

-- `realm` nil: that of init.lua.
function Sandbox:require(name, realm)
  realm = realm or self.realms[1]
  local loaded = realm.loaded[name]
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
  local own = self:realm_of(realm, name)
  realm.loaded[name], own.loaded[name] = self, self
  local value = run(path, text, own.globals)
  if value == nil then value = true end
  realm.loaded[name], own.loaded[name] = value, value
  return value
end

-- What a module returned, in the first realm that has it.
function Sandbox:module(name)
  for _, realm in ipairs(self.realms) do
    if realm.loaded[name] ~= nil then return realm.loaded[name] end
  end
end

function Sandbox:read(path)
  if self.files[path] then return self.files[path] end
  local file = io.open(self.dir .. "/" .. path, "rb")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

-- Nothing is loaded any more, and what is loaded stays as it is.
function Sandbox:close()
  self.closed = true
  for _, realm in ipairs(self.realms) do
    for _, value in pairs(realm.loaded) do self:freeze(value) end
  end
end

local sandbox = {}

-- `files` (path -> text) stand before those of the directory.
function sandbox.open(dir, cs, files)
  local self = setmetatable({
    dir = dir,
    files = files or {},
    realms = {},
    contents = setmetatable({}, { __mode = "k" }),
  }, Sandbox)
  self.shared = self:globals(cs)
  self:new_realm()
  return self
end

return sandbox
