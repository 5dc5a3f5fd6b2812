-- The message road in pieces, for bench/road.c: the shipped stream cut short after each step, once
-- with the host's reader and once with the whole message decoded by lua-cjson, as it was before.
local v2 = require "streams.market_data_v2"

-- "data.k.s" as { "data", "k", "s" }
local function split(path)
  local keys = {}
  for key in path:gmatch "[^.]+" do keys[#keys + 1] = key end
  return keys
end

local NUMBERS = { float8 = true, int8 = true, ms = true }

-- Each shape as a list of { field, is a number, may be absent, paths }.
local function compile()
  local shapes = {}
  for s, shape in ipairs(v2.shapes) do
    shapes[s] = {}
    for field, kind in pairs(v2.fields) do
      local paths, at = {}, shape[field]
      for _, path in ipairs(type(at) == "table" and at or { at }) do
        paths[#paths + 1] = split(path)
      end
      shapes[s][#shapes[s] + 1] = {
        name = field, paths = paths, optional = kind:sub(-1) == "?",
        number = NUMBERS[(kind:gsub("%?$", ""))],
      }
    end
  end
  return shapes
end
local SHAPES = compile()

local function find(message, paths)
  for _, keys in ipairs(paths) do
    local value = message
    for _, key in ipairs(keys) do
      value = type(value) == "table" and value[key] or nil
    end
    if value ~= nil and value ~= cs.null then return value end
  end
end

local function fit(message, shape)
  local k = {}
  for _, field in ipairs(shape) do
    local value = find(message, field.paths)
    if value == nil and not field.optional then return nil end
    if field.number and value ~= nil then value = tonumber(value) end
    k[field.name] = value
  end
  return k
end

local function pick(message)
  for _, shape in ipairs(SHAPES) do
    local k = fit(message, shape)
    if k then return k end
  end
end

local function stream(name, with_reader, map)
  return {
    name = name, topic = "bench", tables = v2.tables, map = map,
    fields = with_reader and v2.fields or nil, shapes = with_reader and v2.shapes or nil,
  }
end

return {
  stream("read", true, function() return nil, "skip", "read" end),
  stream("read and map", true, function(k) v2.map(k) return nil, "skip", "mapped" end),
  stream("read, map and row", true, function(k) return v2.map(k) end),
  stream("decode", false, function() return nil, "skip", "decoded" end),
  stream("decode and map", false, function(m) v2.map(pick(m)) return nil, "skip", "mapped" end),
  stream("decode, map and row", false, function(m) return v2.map(pick(m)) end),
}
