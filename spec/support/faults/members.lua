-- Members of one group are killed, stopped and added while every partition has more to read than
-- they can store. Each partition must be written by one process at a time.
local turns = require "spec.support.faults.turns"
local wait = require "spec.support.wait"

local MEMBERS, PARTITIONS = 3, 4
local BACKLOG = 3000 -- messages that wait in each partition, at least

local function running(s)
  local numbers = {}
  for n = 1, MEMBERS do
    if s.services[n] and s.services[n].process:is_running() then
      numbers[#numbers + 1] = n
    end
  end
  return numbers
end

-- How far each partition is.
local function progress(s)
  local done = {}
  for _, row in ipairs(s.database:rows(([[
    SELECT partition, next_offset FROM ingest_offsets WHERE group_id = '%s' AND topic = '%s']])
    :format(s.group, s.topic))) do
    done[tonumber(row.partition)] = tonumber(row.next_offset)
  end
  return done
end

local function feed(s)
  local done, messages = progress(s), {}
  for partition = 0, PARTITIONS - 1 do
    local waiting = s.fed[partition] - (done[partition] or 0)
    if waiting < BACKLOG then
      for _ = 1, BACKLOG do
        messages[#messages + 1] = s.load:next(partition)
      end
      s.fed[partition] = s.fed[partition] + BACKLOG
    end
    s.dry = s.dry + (waiting == 0 and 1 or 0)
    s.looks = s.looks + 1
  end
  s:feed(messages)
end

-- For so long, no partition runs dry.
local function keep_busy(s, seconds)
  local till = wait.now() + seconds
  repeat
    feed(s)
    wait.pause(0.01)
  until wait.now() >= till
end

-- One that was asked to stop: it may take its time, and the others go on meanwhile.
local function see_off(s, one)
  one.process:signal "TERM"
  local till = wait.now() + 20
  while one.process:is_running() do
    assert(wait.now() < till, "a member does not stop")
    keep_busy(s, 0.05)
  end
  assert(one.process:status().code == 0, "a member ended badly:\n" .. one.process:tail(20))
end

-- Never the last one.
local function change(s)
  local numbers = running(s)
  local n = math.random(MEMBERS)
  local one = s.services[n]
  if not one or not one.process:is_running() then
    s:start(false, n)
  elseif #numbers == 1 then
    s:start(false, n % MEMBERS + 1)
  elseif math.random(3) == 1 then
    see_off(s, one)
  else
    one:kill()
  end
end

-- At least `rounds` changes, for at least `seconds`.
local function members(s, rounds, seconds)
  s.fed, s.dry, s.looks = { [0] = 0, 0, 0, 0 }, -PARTITIONS, -PARTITIONS
  feed(s) -- the first look finds all of them dry
  local began = wait.now()
  for n = 1, MEMBERS do
    s:start(false, n)
  end
  keep_busy(s, 2)
  local changes = 0
  while changes < rounds or wait.now() - began < (seconds or 0) do
    change(s)
    keep_busy(s, 0.2 + math.random() * (seconds and 4 or 1))
    changes = changes + 1
  end
  local lasted = wait.now() - began
  for n = 1, MEMBERS do
    if not s.services[n].process:is_running() then
      s:start(false, n)
    end
  end
  s:wait_ingested(120)
  print(("# in %.0f s %d changes, %d turns at %d partitions, %d messages/s; a partition was dry " ..
    "at %d of %d looks"):format(lasted, changes, turns.check(s), PARTITIONS, s:ends() / lasted,
    s.dry, s.looks))
  return changes
end

return {
  { name = "members of the group come and go", rounds = 12, run = members,
    options = function() return { partitions = PARTITIONS, batch = 1000 } end },
}
