-- A TCP proxy on loopback, in a process of its own, that misbehaves on command.
local ports = require "spec.support.ports"
local process = require "spec.support.process"
local socket = require "socket"
local wait = require "spec.support.wait"

local proxy = {}
local Proxy = {}
Proxy.__index = Proxy

-- Passes on what comes to `port` (nil: a free one) to `target`.
function proxy.start(target, port)
  local self = setmetatable({ port = port or ports.free(), control = ports.free() }, Proxy)
  self.process = process.spawn {
    name = "proxy",
    argv = { "luajit", "spec/support/proxy_main.lua", tostring(self.port), tostring(target),
      tostring(self.control) },
  }
  wait.till("the proxy listens", 10, function()
    assert(self.process:is_running(), "it ended at once")
    return pcall(self.tell, self, "pass")
  end)
  return self
end

-- Commands:
--   pass             behaves
--   delay MS         everything arrives that much later, both ways
--   cut_after BYTES  cuts one connection in the middle, after so many bytes to the target
--   lose_after BYTES loses one connection in the middle, after so many bytes to the target: nothing
--                    gets through it any more, and neither end is told
--   cut, reset       ends all connections, in good order or with RST
--   silence          nothing gets through any more, nothing is closed
--   refuse           new connections are closed at once
function Proxy:tell(command)
  local connection = assert(socket.connect("127.0.0.1", self.control))
  connection:settimeout(5)
  connection:send(command .. "\n")
  local answer = connection:receive "*l"
  connection:close()
  assert(answer == "done", "the proxy does not obey: " .. command)
end

function Proxy:stop()
  self.process:kill()
end

return proxy
