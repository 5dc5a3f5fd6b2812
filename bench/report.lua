-- What was measured: lines on the terminal, JSON, charts.
local cjson = require "cjson"
local unistd = require "posix.unistd"

local report = {}
local DIRECTORY, SAVED = "build/bench/results", "docs/performance"
local interactive = unistd.isatty(1) == 1

function report.progress(...)
  local text = string.format(...)
  io.stdout:write(interactive and "\r\27[K" .. text or "... " .. text .. "\n")
  io.stdout:flush()
end

local function number(value)
  if value < 1000 then return ("%.1f"):format(value) end
  local text = ("%.0f"):format(value)
  return (text:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

local function verdict(result)
  if result.ratio then
    return ("%.2f of %s (target: at least %.2f) %s"):format(result.ratio, result.of,
      result.target, result.met and "met" or "NOT MET")
  elseif result.most then
    return ("target: at most %g %s"):format(result.most, result.met and "met" or "NOT MET")
  end
  return ""
end

-- The result as lines.
function report.say(result)
  if interactive then io.stdout:write "\r\27[K" end
  print(("%s: %s"):format(result.name, result.title))
  for _, turn in ipairs(result.turns) do
    local more = {}
    for name, value in pairs(turn.more) do
      more[#more + 1] = ("%s %.2f"):format(name, value)
    end
    table.sort(more)
    print(("    %-38s %12s %s   %s"):format(turn.name, number(turn.value), result.unit,
      table.concat(more, "  ")))
  end
  print("    " .. verdict(result))
  io.stdout:flush()
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
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

local CHART = [[
set terminal %s
set output "%s"
set style data histograms
set style histogram clustered gap 1
set style fill solid 0.85 border -1
set boxwidth 0.8
set yrange [0:*]
set ylabel "%s"
set title "%s"
set grid ytics
set format y "%%'.0f"
unset key
set xtics nomirror
plot "%s" using ($0):2:(0.6):xtic(1) with boxes lc rgb "#4878a8"
]]

local terminals = { svg = 'svg size 720,360 font "Arial,12"', png = 'pngcairo size 720,360' }

local function draw(result, name)
  local rows = {}
  for _, turn in ipairs(result.turns) do
    rows[#rows + 1] = ('"%s" %f'):format(turn.name, turn.value)
  end
  local data = ("%s/%s.dat"):format(DIRECTORY, name)
  write(data, table.concat(rows, "\n") .. "\n")
  for kind, terminal in pairs(terminals) do
    local script = ("%s/%s.gnuplot"):format(DIRECTORY, name)
    local output = ("%s/%s.%s"):format(DIRECTORY, name, kind)
    write(script, CHART:format(terminal, output, result.unit, result.title, data))
    assert(os.execute("gnuplot " .. script) == 0, "gnuplot " .. script)
  end
end

-- Names of charts: measures of the same name are told apart by a number.
local function chart_name(result, seen)
  seen[result.name] = (seen[result.name] or 0) + 1
  local n = seen[result.name]
  return n == 1 and result.name or result.name .. "-" .. n
end

function report.save(results, run)
  local seen = {}
  for _, result in ipairs(results) do
    if #result.turns > 1 then draw(result, chart_name(result, seen)) end
  end
  write(DIRECTORY .. "/results.json", cjson.encode {
    at = os.date "!%Y-%m-%dT%H:%M:%SZ", quick = run.quick, seconds = run.seconds,
    commit = first_line "git rev-parse --short HEAD 2>/dev/null", machine = machine(),
    results = results,
  } .. "\n")
  local where = DIRECTORY
  if run.save then
    assert(os.execute(("mkdir -p %s && cp %s/*.json %s/*.svg %s/*.png %s"):format(SAVED, DIRECTORY,
      DIRECTORY, DIRECTORY, SAVED)) == 0)
    where = SAVED
  end
  print(("%.0f s; results and charts: %s"):format(run.seconds, where))
end

return report
