-- A small HTTP client for loopback.
local cjson = require "cjson"
local http = require "socket.http"
local ltn12 = require "ltn12"
local socket = require "socket"

local client = {}

local function connect_with(timeout)
  return function()
    local connection = socket.tcp()
    connection:settimeout(timeout)
    return connection
  end
end

-- One request on a connection of its own. options: method, headers, body, timeout (10 s).
-- Returns { status, headers (lower-case names), body, json } or nil, reason; `json` is the decoded
-- body where it is JSON.
function client.request(port, path, options)
  options = options or {}
  local parts = {}
  local headers = { connection = "close" }
  for name, value in pairs(options.headers or {}) do
    headers[name:lower()] = value
  end
  if options.body then
    headers["content-length"] = headers["content-length"] or tostring(#options.body)
  end
  local fine, status, received = http.request {
    url = ("http://127.0.0.1:%d%s"):format(port, path),
    method = options.method or "GET",
    headers = headers,
    source = options.body and ltn12.source.string(options.body),
    sink = ltn12.sink.table(parts),
    create = connect_with(options.timeout or 10),
    redirect = false,
  }
  if not fine then
    return nil, status
  end
  local answer = { status = status, headers = received, body = table.concat(parts) }
  if (received["content-type"] or ""):find("json", 1, true) then
    answer.json = cjson.decode(answer.body)
  end
  return answer
end

function client.get(port, path, headers)
  return client.request(port, path, { headers = headers })
end

-- Sends bytes as they are; everything that comes back until the other side closes or is silent for
-- `timeout` seconds.
function client.raw(port, bytes, timeout)
  local connection = assert(socket.connect("127.0.0.1", port))
  connection:settimeout(timeout or 5)
  connection:send(bytes)
  local parts = {}
  repeat
    local data, why, partial = connection:receive(65536)
    parts[#parts + 1] = data or partial
  until why
  connection:close()
  return table.concat(parts)
end

return client
