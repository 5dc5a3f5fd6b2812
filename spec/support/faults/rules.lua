-- A rule that rejects everything is saved while messages come, and mended some seconds later.
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local MESSAGES = 3000 -- a round
local STREAM = "/streams/market_data_v2.lua"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function save(path, text)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".new", path))
end

local function own_rules()
  local directory = process.directory() .. "/lua"
  assert(os.execute("cp -r lua " .. directory) == 0)
  return { env = { LUA_DIR = directory, RULES_WATCH_MS = 100 }, partitions = 1 }
end

-- Its examples would not let it pass.
local function broken(text)
  return (text:gsub("map = function%(k%)", '%0\n    if k then return nil, "reject", "broken" end')
    :gsub("examples = %b{}", "examples = {}"))
end

local function reload(s, text)
  save(s.env.LUA_DIR .. STREAM, text)
  s.services[1]:admin("/admin/rules/reload", { method = "POST" })
end

local function rejects_everything(s, rounds)
  local text = read(s.env.LUA_DIR .. STREAM)
  s:start "ready"
  for _ = 1, rounds do
    s:feed(MESSAGES)
    reload(s, broken(text))
    s:feed(MESSAGES)
    wait.pause(math.random())
    reload(s, text)
    s:feed(MESSAGES)
  end
  s:wait_ingested()
  local said = {}
  for _, row in ipairs(s.database:rows [[
    SELECT partition, "offset" FROM rejected_messages WHERE reason = 'broken']]) do
    said[row.partition .. " " .. row.offset] = true
  end
  assert(next(said), "the broken rule was never used")
  s.checker.refuses = function(_, partition, offset)
    return said[partition .. " " .. offset]
  end
end

return {
  { name = "a rule rejects everything for a while", rounds = 3, run = rejects_everything,
    options = own_rules },
}
