-- What was measured: lines on the terminal, JSON, charts, the page.
local charts = require "bench.charts"
local cjson = require "cjson"
local numbers = require "bench.numbers"
local page = require "bench.page"
local unistd = require "posix.unistd"

local report = {}
local DIRECTORY, SAVED = "build/bench/results", "docs/performance"
local interactive = unistd.isatty(1) == 1

function report.progress(...)
  local text = string.format(...)
  io.stdout:write(interactive and "\r\27[K" .. text or "... " .. text .. "\n")
  io.stdout:flush()
end

-- The result as lines.
function report.say(result)
  if interactive then io.stdout:write "\r\27[K" end
  print(("%s: %s"):format(result.name, result.title))
  for _, turn in ipairs(result.turns) do
    local more = {}
    for _, one in ipairs(numbers.more(turn)) do
      more[#more + 1] = one[2] .. " " .. one[3]
    end
    print(("    %-36s %12s %s   %s"):format(turn.name, numbers.text(turn.value), result.unit,
      table.concat(more, "  ")))
  end
  local verdict = numbers.verdict(result)
  if verdict ~= "" then
    print(("    %s (target: %s)"):format(numbers.comparison(result), verdict))
  end
  io.stdout:flush()
end

local function first_line(command)
  local pipe = io.popen(command)
  local line = pipe:read "*l"
  pipe:close()
  return line or "?"
end

local function machine()
  return {
    cpu = first_line "sed -n 's/^model name.*: //p' /proc/cpuinfo",
    cores = tonumber(first_line "nproc"),
    memory_kib = tonumber(first_line "sed -n 's/^MemTotal: *\\([0-9]*\\).*/\\1/p' /proc/meminfo"),
    kernel = first_line "uname -r",
    load = first_line "cut -d' ' -f1-3 /proc/loadavg",
  }
end

local function write_json(directory, results)
  local file = assert(io.open(directory .. "/results.json", "w"))
  file:write(cjson.encode(results), "\n")
  file:close()
end

local function read_json(directory)
  local file = io.open(directory .. "/results.json")
  if not file then return {} end
  local results = cjson.decode(file:read "*a")
  file:close()
  return results
end

-- Measures of one name are told apart by a number.
local function name_charts(results)
  local seen = {}
  for _, result in ipairs(results) do
    local n = (seen[result.name] or 0) + 1
    seen[result.name] = n
    result.chart = n == 1 and result.name or result.name .. "-" .. n
  end
end

-- What was saved before, with `results` in the places of the same names, or behind.
local function merge(saved, results)
  local place = {}
  for i, result in ipairs(saved) do place[result.chart] = i end
  for _, result in ipairs(results) do
    saved[place[result.chart] or #saved + 1] = result
  end
  return saved
end

local function keep(results)
  assert(os.execute("mkdir -p " .. SAVED) == 0)
  for _, result in ipairs(results) do
    if #result.turns > 1 then
      assert(os.execute(("cp %s/%s.svg %s/%s.png %s"):format(DIRECTORY, result.chart, DIRECTORY,
        result.chart, SAVED)) == 0)
    end
  end
  local all = merge(read_json(SAVED), results)
  write_json(SAVED, all)
  return page.write(all)
end

-- `run`: command, rounds, seconds, save.
function report.save(results, run)
  local origin = {
    at = os.date "!%Y-%m-%dT%H:%M:%SZ", command = run.command, rounds = run.rounds,
    commit = first_line "git rev-parse --short HEAD 2>/dev/null", machine = machine(),
  }
  name_charts(results)
  for _, result in ipairs(results) do
    result.run = origin
    if #result.turns > 1 then charts.draw(result, DIRECTORY) end
  end
  write_json(DIRECTORY, results)
  print(("%.0f s; results and charts: %s"):format(run.seconds, DIRECTORY))
  if run.save then print(("saved in %s; figures of %s"):format(SAVED, keep(results))) end
end

return report
