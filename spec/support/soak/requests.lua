-- A program: asks for /marks on one connection until it is ended, and says what it got.
--   luajit spec/support/soak/requests.lua PORT SECONDS     SECONDS: how long its query takes
-- "done N" every so often; "wrong ..." for each answer that is no 200 of one generation alone.
local cjson = require "cjson"
local socket = require "socket"
local wait = require "spec.support.wait"

local port, seconds = tonumber(arg[1]), arg[2]
local request = ("GET /marks?seconds=%s HTTP/1.1\r\nHost: localhost\r\n\r\n"):format(seconds)
local REPORT_SECONDS = 0.2

local connection

local function connect()
  connection = assert(socket.connect("127.0.0.1", port))
  connection:settimeout(20)
  connection:setoption("tcp-nodelay", true)
end

local function receive_head()
  local status = tonumber(assert(connection:receive "*l"):match "^HTTP/1.1 (%d+)")
  local headers = {}
  while true do
    local line = assert(connection:receive "*l")
    if line == "" then return status, headers end
    local name, value = line:match "^(.-):%s*(.*)$"
    headers[name:lower()] = value
  end
end

local function ask()
  assert(connection:send(request))
  local status, headers = receive_head()
  local body = assert(connection:receive(tonumber(headers["content-length"])))
  if headers.connection == "close" then
    connection:close()
    connect()
  end
  return status, body
end

local function is_of_one_generation(body)
  local marks = cjson.decode(body)
  for _, mark in pairs(marks) do
    if mark ~= marks.of_file then return false end
  end
  return marks.of_file ~= nil
end

local function say(...)
  io.stdout:write(string.format(...), "\n")
  io.stdout:flush()
end

connect()
local done, reported_at = 0, wait.now()
while true do
  local fine, status, body = pcall(ask)
  if not fine then
    say("wrong: %s", tostring(status))
    connection:close()
    connect()
  elseif status ~= 200 or not is_of_one_generation(body) then
    say("wrong: %d %s", status, body)
  end
  done = done + 1
  if wait.now() - reported_at > REPORT_SECONDS then
    say("done %d", done)
    reported_at = wait.now()
  end
end
