-- Writes the figures of docs/PERFORMANCE.md, which stand between two marks, from the results.
local numbers = require "bench.numbers"

local page = {}

local PATH = "docs/PERFORMANCE.md"
local BEGIN = "<!-- The figures from here on are written by scripts/bench --save. -->"
local END = "<!-- The figures end here. -->"

local function is_growth(result)
  return result.name:find "^growth" ~= nil
end

local function with_more(turn, unit)
  local parts = { numbers.text(turn.value) .. " " .. unit }
  for _, one in ipairs(numbers.more(turn)) do
    parts[#parts + 1] = one[2] .. " " .. one[3]
  end
  return table.concat(parts, ", ")
end

local function row(...)
  return "| " .. table.concat({ ... }, " | ") .. " |"
end

local function limits_table(results)
  local lines = { row("measure", "service", "beside it", "ratio", "target"),
    row("---", "---", "---", "---", "---") }
  for _, result in ipairs(results) do
    if not is_growth(result) then
      local beside = {}
      for i = 2, #result.turns do
        local turn = result.turns[i]
        beside[#beside + 1] = ("%s: %s"):format(turn.name, with_more(turn, result.unit))
      end
      lines[#lines + 1] = row(("%s: %s"):format(result.name, result.title),
        with_more(result.turns[1], result.unit), table.concat(beside, "; "),
        result.ratio and ("%.2f"):format(result.ratio) or numbers.comparison(result),
        numbers.verdict(result))
    end
  end
  return table.concat(lines, "\n")
end

local function growth_table(results)
  local lines = { row("measure", "case", "us a message", "us CPU a message", "us a query",
    "beside the first case", "target"), row("---", "---", "---", "---", "---", "---", "---") }
  for _, result in ipairs(results) do
    for i, turn in ipairs(is_growth(result) and result.turns or {}) do
      local first = result.turns[1]
      local beside = { ("%.2f"):format(turn.value / first.value) }
      if turn.more.query_us then
        beside[2] = ("%.2f a query"):format(turn.more.query_us / first.more.query_us)
      end
      lines[#lines + 1] = row(i == 1 and ("%s: %s"):format(result.name, result.title) or "",
        turn.name, numbers.text(turn.value), numbers.text(turn.more.cpu_us),
        turn.more.query_us and numbers.text(turn.more.query_us) or "",
        i == 1 and "1" or table.concat(beside, ", "), i == 1 and numbers.verdict(result) or "")
    end
  end
  return #lines > 2 and table.concat(lines, "\n") or nil
end

-- When and on what; results of one name may be newer than the rest.
local function origin(results)
  local seen, lines = {}, {}
  for _, result in ipairs(results) do
    local run = result.run
    local text = ("`%s`, %d round%s, commit %s, %s: %s, %d cores, %.0f GB, Linux %s, load %s at " ..
      "its end"):format(run.command, run.rounds, run.rounds > 1 and "s" or "", run.commit, run.at,
        run.machine.cpu, run.machine.cores, run.machine.memory_kib / 1048576, run.machine.kernel,
        run.machine.load)
    if not seen[text] then
      seen[text] = {}
      lines[#lines + 1] = text
    end
    table.insert(seen[text], result.chart)
  end
  if #lines == 1 then return lines[1] .. "." end
  for i, text in ipairs(lines) do
    lines[i] = ("- %s: %s"):format(text, table.concat(seen[text], ", "))
  end
  return table.concat(lines, "\n")
end

local function images(results)
  local lines = {}
  for _, result in ipairs(results) do
    if #result.turns > 1 then
      lines[#lines + 1] = ("![%s: %s](performance/%s.svg)"):format(result.name, result.title,
        result.chart)
    end
  end
  return table.concat(lines, "\n")
end

function page.write(results)
  local file = assert(io.open(PATH))
  local text = file:read "*a"
  file:close()
  local _, from = text:find(BEGIN, 1, true)
  local to = text:find(END, 1, true)
  assert(from and to and from < to, PATH .. " has no marks for the figures")
  local chapters = { origin(results), limits_table(results) }
  local growth = growth_table(results)
  if growth then chapters[#chapters + 1] = growth end
  chapters[#chapters + 1] = images(results)
  file = assert(io.open(PATH, "w"))
  file:write(text:sub(1, from), "\n\n", table.concat(chapters, "\n\n"), "\n\n", text:sub(to))
  file:close()
  return PATH
end

return page
