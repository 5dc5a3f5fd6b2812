-- Loads rule files for busted specs under the same API as the service, without the service:
--
--   local rules = require "spec.support.rules"
--   local kit = rules.open()
--   local stream = kit:stream "streams.market_data_v2"
--   stream:map [[{"symbol":"BTCUSDT", ...}]]          --> { rows = ... } or { reject = ... }
--   local endpoint = kit:endpoint "endpoints.klines_missed"
--   endpoint:call { query = { symbol = "BTCUSDT" } }  --> { status = 400, body = { ... } }
--
-- Not here: time and memory limits (`core-service check` knows them) and the database.
local api = require "spec.support.rules.api"
local Endpoint = require "spec.support.rules.endpoint"
local sandbox = require "spec.support.rules.sandbox"
local Stream = require "spec.support.rules.stream"

local Kit = {}
Kit.__index = Kit

local rules = {}

-- options, all optional:
--   dir      the rules directory, "lua"
--   files    path -> text: files that stand before those of the directory
--   modules  what to load besides "init" and all that it requires: { "streams.market_data" }
--   env      name -> value, for cs.env
--   now_ms   holds the rules' clock
-- The kit has `lines` ({ level, component, text, request } of every line logged; the service writes
-- the request behind the text) and `counters`.
function rules.open(options)
  options = options or {}
  local kit = setmetatable({ lines = {}, counters = {}, component = "rules" }, Kit)
  local cs = api.make {
    env = options.env or {},
    now_ms = options.now_ms,
    lines = kit.lines,
    counters = kit.counters,
    component = function() return kit.component end,
    request = function() return kit.request end,
  }
  kit.cs = cs
  kit.sandbox = sandbox.open(options.dir or "lua", cs, options.files)
  kit.live = kit.sandbox:require "init"
  for _, module in ipairs(options.modules or {}) do kit.sandbox:require(module) end
  kit.definitions = {}
  for module, value in pairs(kit.sandbox.realms[1].loaded) do
    kit.definitions[module] = rules.copy(value)
  end
  kit.sandbox:close()
  return kit
end

-- A deep copy of data; what has a metatable (arrays, numbers) stays itself.
function rules.copy(value)
  if type(value) ~= "table" or debug.getmetatable(value) then return value end
  local copied = {}
  for key, member in pairs(value) do copied[key] = rules.copy(member) end
  return copied
end

-- Runs `work` with lines in the name of `component`, about a request or none.
function Kit:enter_as(component)
  return function(work, request)
    self.component, self.request = component, request
    return work()
  end
end

-- What a file returned, for specs of libraries.
function Kit:module(module)
  return self.sandbox:module(module)
end

function Kit:definition(module)
  local def = self.definitions[module]
  if not def then
    error(module .. ": neither live nor in the kit's modules: rules.open { modules = {...} }", 3)
  end
  return def
end

local function make(class, module, def, enter)
  local fine, made = pcall(class.new, def, enter)
  if not fine then error(module .. ": " .. tostring(made), 3) end
  return made
end

function Kit:stream(module)
  local def = self:definition(module)
  return make(Stream, module, def, self:enter_as(def.name))
end

function Kit:endpoint(module)
  local def = self:definition(module)
  return make(Endpoint, module, def, self:enter_as(def.name or module))
end

return rules
