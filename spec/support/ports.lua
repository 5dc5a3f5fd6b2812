-- Free ports on loopback, below the range from which the kernel picks ports for outgoing
-- connections, so that none of those takes one before its server starts.
local socket = require "socket"
local unistd = require "posix.unistd"

local ports = {}
local first, last = 20000, 32000
local given = {}

-- Its own random numbers: a spec may seed math.random to repeat itself, and several runs on one
-- machine must still not look for the same ports.
local state = (unistd.getpid() * 7919 + os.time()) % 2147483647

local function next_port()
  state = (state * 16807) % 2147483647
  return first + state % (last - first)
end

local function is_free(port)
  local server = socket.bind("127.0.0.1", port)
  if server then
    server:close()
  end
  return server ~= nil
end

function ports.free()
  for _ = 1, 1000 do
    local port = next_port()
    if not given[port] and is_free(port) then
      given[port] = true
      return port
    end
  end
  error("no free port on 127.0.0.1")
end

-- `port` when it is free, else any.
function ports.prefer(port)
  return is_free(port) and port or ports.free()
end

-- A port that somebody listens on, for tests of a taken port; the second result releases it.
function ports.taken()
  local server = assert(socket.bind("127.0.0.1", 0))
  local _, port = server:getsockname()
  return tonumber(port), function()
    server:close()
  end
end

return ports
