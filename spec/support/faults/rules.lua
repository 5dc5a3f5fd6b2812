-- A rule that rejects everything is saved while messages come, and mended some seconds later; what
-- it has rejected is re-driven, whatever happens to that.
local process = require "spec.support.process"
local service = require "spec.support.service"
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
  local wrong, maps = text:gsub("map = function%(k%)",
    '%0\n    if k then return nil, "reject", "broken" end')
  local bare, examples = wrong:gsub("examples = samples%.examples%b()", "examples = {}")
  assert(maps == 1 and examples == 1, "the stream is not written as it was")
  return bare
end

local function reload(s, text)
  save(s.env.LUA_DIR .. STREAM, text)
  local answer = s.services[1]:admin("/admin/rules/reload", { method = "POST" })
  assert(answer.status == 200, answer.body)
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

local function redrive(s)
  return process.spawn { name = "redrive", argv = { service.program(), "redrive" },
    env = s.services[1].env }
end

local function count_pending(s)
  return s.database:number [[
    SELECT count(*) FROM rejected_messages WHERE reason = 'broken' AND redriven_at IS NULL]]
end

-- Two at once, killed, cut off from PostgreSQL, while newer messages come and the service is killed
-- too: in the end all is as if the rule had never been wrong.
local function redrive_cut_off(s, rounds)
  local text = read(s.env.LUA_DIR .. STREAM)
  s:start "ready"
  reload(s, broken(text))
  s:feed((rounds + 1) * MESSAGES)
  s:wait_ingested()
  reload(s, text)
  assert(count_pending(s) > rounds * MESSAGES * 0.9)
  for round = 1, rounds do
    s:feed(MESSAGES / 4)
    local one, other = redrive(s), redrive(s)
    local goal = count_pending(s) - math.random(MESSAGES)
    wait.till("they have stored some", 30, function()
      return count_pending(s) <= goal
    end, 0.005)
    if round % 3 == 0 then
      s.services[1]:kill()
      s:start(false)
    elseif round % 3 == 1 then
      s.database:exec [[
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database()]]
    end
    one:kill()
    other:kill()
  end
  local status = redrive(s):wait(60) -- of what is left, a round's messages at least
  assert(status.code == 0 and count_pending(s) == 0, "the last re-drive left something")
end

return {
  { name = "a re-drive is cut off again and again", rounds = 6, run = redrive_cut_off,
    options = function()
      local options = own_rules()
      options.partitions, options.distinct = 2, true
      return options
    end },
  { name = "a rule rejects everything for a while", rounds = 3, run = rejects_everything,
    options = own_rules },
}
