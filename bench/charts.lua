-- Draws a result as horizontal bars, SVG and PNG: the service, its limits beside it, and a line
-- where the target is.
local numbers = require "bench.numbers"

local charts = {}

local SERVICE, LIMIT = 0x2f6f9f, 0xb0b7bf

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- { label, length, color, text } from the top down, what the axis shows, where the target is.
local function compare(result)
  local bars = {}
  for i, turn in ipairs(result.turns) do
    local is_service = i == 1 or turn.name:find("service", 1, true) or result.most
    local text = numbers.text(turn.value)
    if i == 1 and result.ratio then
      text = ("%s   (%.2f of %s)"):format(text, result.ratio, result.of)
    end
    bars[i] = { turn.name, turn.value, is_service and SERVICE or LIMIT, text }
  end
  local target = result.most
  for _, turn in ipairs(result.turns) do
    if turn.name == result.of then target = turn.value * result.target end
  end
  return bars, result.unit, target
end

-- Each number of the turns beside that of the first turn, which is 1.
local function relate(result)
  local bars, first = {}, result.turns[1]
  local function add(turn, label, value, base, text, color)
    bars[#bars + 1] = { ("%s: %s"):format(label, turn.name), value / base, color,
      ("%.2f   (%s)"):format(value / base, text) }
  end
  for _, turn in ipairs(result.turns) do
    add(turn, "message", turn.value, first.value, numbers.text(turn.value) .. " us", SERVICE)
  end
  for _, one in ipairs(numbers.more(first)) do
    local name, _, unit = unpack(one)
    for _, turn in ipairs(unit:find "^us" and result.turns or {}) do
      add(turn, name == "query_us" and "query" or "CPU of a message", turn.more[name],
        first.more[name], numbers.text(turn.more[name]) .. " us", LIMIT)
    end
  end
  return bars, "times what it costs in the case '" .. first.name .. "'", result.flat
end

local SCRIPT = [[
set terminal %s
set output "%s"
set label 2 "%s" at screen 0.02,graph 1 offset 0,2 left noenhanced font ",14"
set tmargin 3.5
set xlabel "%s" noenhanced
set format x "%%g"
set xrange [0:%f]
set yrange [%f:0.1]
set ytics (%s) noenhanced
set tics nomirror out scale 0.5
set border 3 lc rgb "#606060"
set grid xtics lc rgb "#e4e4e4" lt 1
set style fill solid 1.0 noborder
set style textbox opaque noborder margins 0.3,0.3 fillcolor rgb "#ffffff"
set lmargin %d
unset key
%s
$target << END
%s
END
plot "%s" using ($2/2):1:($2/2):(0.32):3 with boxxyerror lc rgb variable, \
     $target using 1:2 with lines dt 2 lw 1.5 lc rgb "#c03020", \
     "%s" using 2:1:4 with labels left boxed offset 1,0 noenhanced
]]

local TARGET = [[
set label 1 "target: %s" at %f,-0.2 %s textcolor rgb "#c03020" noenhanced
]]

local terminals = {
  svg = 'svg size 800,%d font "Helvetica,12" background "#ffffff"',
  png = 'pngcairo size 800,%d font "Sans,10" background "#ffffff"',
}

function charts.draw(result, directory)
  local draw = result.flat and relate or result.name:find "^growth" and relate or compare
  local bars, axis, target = draw(result)
  local rows, tics, longest, widest = {}, {}, target or 0, 0
  for _, bar in ipairs(bars) do
    longest, widest = math.max(longest, bar[2]), math.max(widest, #bar[1])
  end
  local scale = longest >= 5000 and 1000 or 1
  if scale > 1 then axis = "thousand " .. axis end
  longest, target = longest / scale, target and target / scale
  for i, bar in ipairs(bars) do
    rows[i] = ('%d %f %d "%s"'):format(-i, bar[2] / scale, bar[3], bar[4])
    tics[i] = ('"%s" %d'):format(bar[1], -i)
  end
  local base = ("%s/%s"):format(directory, result.chart)
  write(base .. ".dat", table.concat(rows, "\n") .. "\n")
  local bottom = -#bars - 0.6
  local label, line = "", "NaN NaN"
  if target then
    local side = target < longest * 0.3 and "left" or "center"
    label = TARGET:format(numbers.target(result), target, side)
    line = ("%f %f\n%f -0.45"):format(target, bottom, target)
  end
  for kind, terminal in pairs(terminals) do
    local script = base .. ".gnuplot"
    write(script, SCRIPT:format(terminal:format(140 + 44 * #bars), ("%s.%s"):format(base, kind),
      ("%s: %s"):format(result.name, result.title), axis, longest * 1.45, bottom,
      table.concat(tics, ", "), widest + 3, label, line, base .. ".dat", base .. ".dat"))
    assert(os.execute("gnuplot " .. script) == 0, "gnuplot " .. script)
  end
end

return charts
