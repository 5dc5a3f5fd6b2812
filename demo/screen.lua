-- A terminal as a picture that is drawn again and again, on the alternate screen, so that what was
-- there before is there afterwards.
local ffi = require "ffi"
local unistd = require "posix.unistd"

ffi.cdef [[
struct cs_winsize { unsigned short rows, columns, x, y; };
int ioctl(int fd, unsigned long request, ...);
]]

local screen = {}
local TIOCGWINSZ = 0x5413
local is_open = false
local has_colour = (os.getenv "NO_COLOR" or "") == ""

function screen.is_terminal()
  return unistd.isatty(1) == 1 and (os.getenv "TERM" or "dumb") ~= "dumb"
end

-- Columns, rows.
function screen.size()
  local size = ffi.new "struct cs_winsize"
  if ffi.C.ioctl(1, TIOCGWINSZ, size) == 0 and size.columns > 0 and size.rows > 0 then
    return size.columns, size.rows
  end
  return 80, 24
end

local function write(text)
  io.stdout:write(text)
  io.stdout:flush()
end

function screen.open()
  is_open = true
  write "\27[?1049h\27[?25l\27[2J"
end

function screen.close()
  if is_open then
    is_open = false
    write "\27[?25h\27[?1049l"
  end
end

local CODES = { bold = 1, dim = 2, red = 31, green = 32, yellow = 33, cyan = 36 }

-- `text` in a style of CODES; it must not hold styles itself.
function screen.styled(style, text)
  if not has_colour then
    return text
  end
  return ("\27[%dm%s\27[0m"):format(CODES[style], text)
end

-- How wide a line is, without its styles; lines are ASCII.
function screen.width(line)
  return #line:gsub("\27%[%d+m", "")
end

local function cut(line, columns)
  local left, parts = columns, {}
  for style, text in line:gmatch "(\27?%[?%d*m?)([^\27]*)" do
    if not style:find "^\27" then
      style, text = "", style .. text
    end
    parts[#parts + 1] = style .. text:sub(1, left)
    left = math.max(0, left - #text)
  end
  return table.concat(parts)
end

-- Shows lines from the top. A line that is too long is cut, one of `{ text }` goes on in the next
-- row, so that it can be copied as one.
function screen.draw(lines)
  local columns, rows = screen.size()
  local parts, row = {}, 1
  for _, line in ipairs(lines) do
    local text = type(line) == "table" and line[1] or cut(line, columns)
    local height = math.max(1, math.ceil(screen.width(text) / columns))
    if row + height - 1 > rows then
      break
    end
    for i = row, row + height - 1 do
      parts[#parts + 1] = ("\27[%d;1H\27[2K"):format(i)
    end
    parts[#parts + 1] = ("\27[%d;1H%s"):format(row, text)
    row = row + height
  end
  write(table.concat(parts) .. (row <= rows and ("\27[%d;1H\27[J"):format(row) or ""))
end

return screen
