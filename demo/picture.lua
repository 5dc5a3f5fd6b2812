-- A screen of text with colours (standard input, as tmux captures it) as a picture (SVG, standard
-- output); for scripts/demo-picture.
local COLUMNS, CHARACTER, LINE, FONT = 100, 8.4, 18, 14
local COLOURS = {
  ["31"] = "#ff7b72", ["32"] = "#7ee787", ["33"] = "#e3b341", ["36"] = "#79c0ff",
}

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

local function style_of(codes, before)
  local style = { colour = before.colour, bold = before.bold, dim = before.dim }
  for code in (codes == "" and "0" or codes):gmatch "%d+" do
    if code == "0" then style = {} end
    if code == "1" then style.bold = true end
    if code == "2" then style.dim = true end
    if code == "39" then style.colour = nil end
    style.colour = COLOURS[code] or style.colour
  end
  return style
end

local function span(style, column, text)
  local blank = #text:match "^ *"
  text = text:sub(blank + 1):gsub(" +$", "")
  return ('<tspan x="%.1f" textLength="%.1f"%s%s%s>%s</tspan>'):format(
    16 + (column + blank) * CHARACTER, #text * CHARACTER,
    style.colour and (' fill="%s"'):format(style.colour) or "",
    style.bold and ' font-weight="bold"' or "", style.dim and ' opacity="0.6"' or "",
    escaped(text))
end

-- A style goes on in the next line.
local UNCHANGED = "\27[999m"

local rows, style = {}, {}
for line in io.lines() do
  local parts, column = {}, 0
  for codes, text in (UNCHANGED .. line):gmatch "\27%[([%d;]*)m([^\27]*)" do
    style = style_of(codes, style)
    if text:find "%S" then
      parts[#parts + 1] = span(style, column, text)
    end
    column = column + #text
  end
  rows[#rows + 1] = ('<text y="%d">%s</text>'):format(20 + #rows * LINE + 10,
    table.concat(parts))
end

local width, height = COLUMNS * CHARACTER + 32, #rows * LINE + 28
print(([[
<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">
<title>scripts/demo in a terminal</title>
<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>
<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="%d"
   fill="#e6edf3" xml:space="preserve">
%s
</g>
</svg>]]):format(width, height, width, height, FONT, table.concat(rows, "\n")))
