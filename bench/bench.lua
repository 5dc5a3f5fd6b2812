-- scripts/bench starts this; the harness of the specs owns the processes.
local measures = require "bench.measures"
local process = require "spec.support.process"
local report = require "bench.report"
local site = require "bench.site"
local wait = require "spec.support.wait"

local ROUNDS, QUICK_ROUNDS = 3, 1
local MEMORY, MEMORY_MOST_MB = "memory", 150

local function read_arguments()
  local options, wanted = {}, {}
  for _, argument in ipairs(arg) do
    if argument == "--quick" or argument == "--save" then
      options[argument:sub(3)] = true
    else
      wanted[argument], wanted[1] = true, true
    end
  end
  local known = { [MEMORY] = true }
  for _, measure in ipairs(measures) do
    known[measure.name] = true
  end
  for name in pairs(wanted) do
    if name ~= 1 and not known[name] then
      io.stderr:write("bench: nothing is called ", name, "; see scripts/bench --help\n")
      os.exit(2)
    end
  end
  return options, function(measure)
    return not wanted[1] or wanted[measure.name] or wanted[MEMORY] and measure.loads_memory
  end
end

local function median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = math.ceil(#sorted / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

-- Rounds in which the turns alternate; { [turn] = { value = median, all = {...}, more = {...} } }
local function run(place, measure, rounds)
  local taken = {}
  for i, turn in ipairs(measure.turns) do
    taken[i] = { name = turn.name, all = {}, more = {} }
  end
  for round = 1, rounds do
    for i, turn in ipairs(measure.turns) do
      report.progress("%s (%s), round %d of %d: %s", measure.name, measure.title, round, rounds,
        turn.name)
      local value, more = turn.run(place)
      table.insert(taken[i].all, value)
      for name, number in pairs(more or {}) do
        taken[i].more[name] = taken[i].more[name] or {}
        table.insert(taken[i].more[name], number)
      end
    end
  end
  for _, one in ipairs(taken) do
    one.value = median(one.all)
    for name, numbers in pairs(one.more) do
      one.more[name] = median(numbers)
    end
  end
  return taken
end

local function judge(measure, taken)
  local result = {
    name = measure.name, title = measure.title, unit = measure.unit, turns = taken,
  }
  if measure.target == "ratio" then
    for _, one in ipairs(taken) do
      if one.name == measure.of then
        result.of, result.ratio, result.target = measure.of, taken[1].value / one.value,
          measure.least
      end
    end
    result.met = result.ratio >= measure.least
  elseif measure.target == "most" then
    result.most, result.met = measure.most, taken[1].value <= measure.most
  end
  return result
end

local function memory(place)
  local mb = place.peak_kib / 1024
  return {
    name = MEMORY, title = "Peak memory of the service in all the above", unit = "MB",
    turns = { { name = "service", value = mb, all = { mb }, more = {} } },
    most = MEMORY_MOST_MB, met = mb <= MEMORY_MOST_MB,
  }
end

local function main()
  local options, is_wanted = read_arguments()
  local began = wait.now()
  report.progress "starting Kafka and PostgreSQL"
  local place = site.open { quick = options.quick }
  local results = {}
  for _, measure in ipairs(measures) do
    if is_wanted(measure) then
      local rounds = options.quick and QUICK_ROUNDS or ROUNDS
      results[#results + 1] = judge(measure, run(place, measure, rounds))
      report.say(results[#results])
    end
  end
  if place.peak_kib > 0 then
    results[#results + 1] = memory(place)
    report.say(results[#results])
  end
  report.save(results, {
    quick = options.quick or false, save = options.save, seconds = wait.now() - began,
  })
end

local fine, why = xpcall(main, function(message)
  return debug.traceback(message, 2)
end)
if not fine then
  io.stderr:write("\nbench: ", tostring(why), "\n\n", process.tails(20), "\n")
  os.exit(1)
end
