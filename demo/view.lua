-- The figures as a screen of text: what flows, the last gap, the rules, and what to try.
local screen = require "demo.screen"
local styled = screen.styled
local wait = require "spec.support.wait"

local view = {}

local function grouped(number)
  local text = ("%.0f"):format(number)
  local count
  repeat
    text, count = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
  until count == 0
  return text
end

local function ago(seconds)
  seconds = math.max(0, seconds)
  return seconds < 120 and ("%.0f s"):format(seconds) or ("%.0f min"):format(seconds / 60)
end

local ROW = "%-12s %10s %13s %14s %6s %15s"

local function gap_cell(made, healed)
  return made == 0 and "-" or ("%d / %d"):format(made, healed)
end

local function symbol_line(symbol, losing)
  local line = ROW:format(symbol.name, grouped(symbol.rate), grouped(symbol.rows),
    grouped(symbol.sequence), grouped(symbol.lag or 0), gap_cell(symbol.made, symbol.healed))
  return losing == symbol.name and styled("yellow", line) or line
end

local function table_lines(figures, gap, room)
  local lines = { styled("bold", ROW:format("symbol", "messages/s", "stored rows", "last sequence",
    "lag", "gaps made/healed")) }
  local shown = #figures.symbols <= room and #figures.symbols or room - 1
  for i = 1, shown do
    lines[#lines + 1] = symbol_line(figures.symbols[i], gap.losing and gap.symbol)
  end
  if shown < #figures.symbols then
    lines[#lines + 1] = styled("dim", ("... and %d more symbols"):format(#figures.symbols - shown))
  end
  lines[#lines + 1] = styled("bold", ROW:format("all", grouped(figures.rate),
    grouped(figures.rows), "", grouped(figures.lag),
    gap_cell(figures.gaps_made, figures.gaps_healed)))
  return lines
end

-- Two lines, without styles: what a frontend lost, and what it got back.
function view.gap_texts(gap)
  if not gap.symbol then
    return "a frontend is following the market", ""
  elseif gap.losing then
    return ("a frontend lost its connection: %d messages of %s are gone so far"):format(gap.count,
      gap.symbol), "it will ask for what came after sequence " .. gap.from
  end
  local lost = ("a frontend lost %d messages of %s: sequences %d to %d"):format(gap.count,
    gap.symbol, gap.from + 1, gap.to)
  if gap.trouble then
    return lost, "not healed: " .. gap.trouble
  elseif not gap.candles then
    return lost, "it asks the API for them"
  elseif gap.refused > 0 then
    return lost, ("healed: %d candles came back; %d numbers are \"missing\": rejected"):format(
      gap.candles, gap.refused)
  end
  return lost, ("healed: asked the API, got %d candles, \"complete\": true; all as stored"):format(
    gap.candles)
end

local function gap_lines(gap)
  local lost, healed = view.gap_texts(gap)
  local style = gap.trouble and "red" or gap.candles and "green" or "yellow"
  return { styled("bold", "gap    ") .. lost, "       " .. styled(style, healed) }
end

-- One or two lines, without styles, and whether it is trouble.
function view.rules_texts(figures, now_ms)
  local rules = figures.rules
  local current = ("generation %d, in force for %s; messages refused by them: %s"):format(
    rules.generation, ago((now_ms - rules.publishedAt) / 1000), grouped(figures.rejected))
  local failure = rules.lastFailure
  if type(failure) == "table" and failure.at >= rules.publishedAt then
    return current, ("the edit of %s ago is refused: %s"):format(ago((now_ms - failure.at) / 1000),
      (failure.error:gsub("%s+", " "))), true
  end
  return current, rules.generation > 1 and "the last edit is live" or "not edited yet", false
end

local function rules_lines(figures, columns)
  local current, reload, is_trouble = view.rules_texts(figures, os.time() * 1000)
  local lines = { styled("bold", "rules  ") .. current }
  local width = columns - 7
  local rest = reload
  repeat
    local line = rest:sub(1, width)
    rest = rest:sub(width + 1)
    lines[#lines + 1] = "       " .. styled(is_trouble and "red" or "green", line)
  until rest == "" or #lines == 3
  return lines
end

-- What the reader may do meanwhile.
local function try_lines(links, is_tall)
  local lines = {
    styled("bold", "In another terminal, in this directory:") .. " what did that frontend miss?",
    { styled("cyan", ("curl '127.0.0.1:%d%s'"):format(links.port, links.path)) },
    "Edit a rule. Candles of next to no volume are refused, at once:",
    styled("cyan", ("  sed -i '/\"volume\",/s/0/2/' %s/lib/candle.lua"):format(links.rules)),
    "Break one. It is refused, with file and line, and nothing changes:",
    styled("cyan", ("  echo oops >> %s/init.lua"):format(links.rules)),
    "Take both back:" .. styled("cyan", ("  cp -r lua/. %s"):format(links.rules)),
  }
  if is_tall then
    lines[#lines + 1] = ""
    for _, link in ipairs(links.more) do
      lines[#lines + 1] = { ("%-9s %s"):format(link[1], link[2]) }
    end
  end
  return lines
end

local function height(lines, columns)
  local total = 0
  for _, line in ipairs(lines) do
    total = total + (type(line) == "table"
      and math.max(1, math.ceil(screen.width(line[1]) / columns)) or 1)
  end
  return total
end

local function append(lines, more)
  for _, line in ipairs(more) do
    lines[#lines + 1] = line
  end
end

-- The whole screen, as lines for screen.draw. links: port, path (what the last gap was asked by),
-- rules (their directory), more ({ name, text } each).
function view.lines(figures, gap, links, columns, rows)
  local title = "core-service demo: a live market in Kafka -> PostgreSQL -> HTTP"
  local clock = ago(wait.now() - figures.began)
  local above = {
    styled("bold", title) .. (" "):rep(math.max(1, columns - #title - #clock)) .. clock,
    "Rules in Lua turn each message into a row; frontends ask for what they missed.",
  }
  local below = gap_lines(gap)
  append(below, rules_lines(figures, columns))
  below[#below + 1] = ""
  append(below, try_lines(links, rows >= 34))
  below[#below + 1] = styled("dim", "Ctrl-C ends everything.")
  if rows >= 30 then
    above[#above + 1] = ""
    table.insert(below, 1, "")
  end
  local room = rows - #above - 2 - height(below, columns)
  local lines = above
  append(lines, table_lines(figures, gap, math.max(2, room)))
  append(lines, below)
  return lines
end

-- The same as one line, for a file or a pipe.
function view.line(figures)
  local _, reload = view.rules_texts(figures, os.time() * 1000)
  return ("%4.0f s  %s messages/s, %s rows, lag %s, rejected %s, gaps %d made %d healed, " ..
    "rules generation %d: %s"):format(wait.now() - figures.began, grouped(figures.rate),
    grouped(figures.rows), grouped(figures.lag), grouped(figures.rejected), figures.gaps_made,
    figures.gaps_healed, figures.rules.generation, reload)
end

return view
