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
    known[measure.group or measure.name] = true
  end
  for name in pairs(wanted) do
    if name ~= 1 and not known[name] then
      io.stderr:write("bench: nothing is called ", name, "; see scripts/bench --help\n")
      os.exit(2)
    end
  end
  options.all = not wanted[1] or wanted[MEMORY]
  return options, function(measure)
    return options.all or wanted[measure.name] or wanted[measure.group]
  end
end

local function median(values)
  local sorted = { unpack(values) }
  table.sort(sorted)
  local middle = math.ceil(#sorted / 2)
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

local function turns_of(measure, quick)
  return type(measure.turns) == "function" and measure.turns(quick) or measure.turns
end

-- How many takes of all there will be, and how far it is.
local progress = { done = 0, total = 0, began = wait.now() }

local function say_progress(measure, turn, round, rounds)
  progress.done = progress.done + 1
  report.progress("%d of %d, %.0f s  %s (%s), round %d of %d: %s", progress.done, progress.total,
    wait.now() - progress.began, measure.name, measure.title, round, rounds, turn.name)
end

-- Rounds in which the turns alternate; a list of
-- { name =, value = median, all = {...}, more = {...} }
local function run(place, measure, rounds)
  local turns, taken = turns_of(measure, place.quick), {}
  for i, turn in ipairs(turns) do
    taken[i] = { name = turn.name, all = {}, more = {} }
  end
  for round = 1, rounds do
    for i, turn in ipairs(turns) do
      say_progress(measure, turn, round, rounds)
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

-- By which factor what grew most is above the first turn's.
local function worst_growth(taken)
  local worst = 1
  for _, one in ipairs(taken) do
    worst = math.max(worst, one.value / taken[1].value)
    for name, value in pairs(one.more) do
      worst = math.max(worst, value / taken[1].more[name])
    end
  end
  return worst
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
  elseif measure.target == "added" then
    result.added = 1 - taken[1].value / taken[2].value * taken[4].value / taken[3].value
    result.added_most, result.met = measure.most, result.added <= measure.most
  elseif measure.target == "flat" then
    result.worst, result.flat = worst_growth(taken), measure.most
    result.met = result.worst <= measure.most
  end
  return result
end

local function memory(place)
  local mb = place.peak_kib / 1024
  return {
    name = MEMORY, title = "peak of the service in all the above, default settings", unit = "MB",
    turns = { { name = "service", value = mb, all = { mb }, more = {} } },
    most = MEMORY_MOST_MB, met = mb <= MEMORY_MOST_MB,
  }
end

local function main()
  local options, is_wanted = read_arguments()
  local rounds = options.quick and QUICK_ROUNDS or ROUNDS
  local wanted, results = {}, {}
  for _, measure in ipairs(measures) do
    if is_wanted(measure) then
      wanted[#wanted + 1] = measure
      progress.total = progress.total + rounds * #turns_of(measure, options.quick)
    end
  end
  report.progress "starting Kafka and PostgreSQL"
  local place = site.open { quick = options.quick }
  for _, measure in ipairs(wanted) do
    results[#results + 1] = judge(measure, run(place, measure, rounds))
    report.say(results[#results])
  end
  if options.all then -- the peak of a part says nothing of the whole
    results[#results + 1] = memory(place)
    report.say(results[#results])
  end
  report.save(results, {
    command = "scripts/bench " .. table.concat(arg, " "), rounds = rounds, save = options.save,
    seconds = wait.now() - progress.began,
  })
end

local fine, why = xpcall(main, function(message)
  return debug.traceback(message, 2)
end)
if not fine then
  io.stderr:write("\nbench: ", tostring(why), "\n\n", process.tails(20), "\n")
  os.exit(1)
end
