-- A TCP proxy on loopback that misbehaves on command:   luajit proxy_main.lua LISTEN TARGET CONTROL
-- (three ports). spec/support/proxy.lua starts it and says what the commands do.
local socket = require "socket"

local CHUNK, QUEUE_MAX = 16384, 256

local listen_port, target_port, control_port = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local mode = { delay = 0 }
local ways = {} -- socket -> { other, queue of { due, data }, }: both ends of all connections

local function close_pair(from, reset)
  local way = ways[from]
  if not way then
    return
  end
  for _, one in ipairs { from, way.other } do
    if reset then
      one:setoption("linger", { on = true, timeout = 0 })
    end
    one:close()
    ways[one] = nil
  end
end

local function close_all(reset)
  local all = {}
  for one in pairs(ways) do
    all[#all + 1] = one
  end
  for _, one in ipairs(all) do
    close_pair(one, reset)
  end
end

local function accept(server)
  local client = server:accept()
  if not client then
    return
  end
  local target = not mode.refuse and socket.connect("127.0.0.1", target_port)
  if not target then
    client:close()
    return
  end
  for one, other in pairs { [client] = target, [target] = client } do
    one:settimeout(0)
    one:setoption("tcp-nodelay", true)
    ways[one] = { other = other, queue = {}, to_target = one == client }
  end
end

-- A byte count after which a connection is lost in the middle: to both ends it is still there.
local function lose_after(way, data)
  if not mode.lose_after or not way.to_target then
    return data
  end
  mode.lose_after = mode.lose_after - #data
  if mode.lose_after > 0 then
    return data
  end
  data = data:sub(1, #data + mode.lose_after)
  mode.lose_after = nil
  way.lost, ways[way.other].lost = true, true
  return data
end

-- A byte count after which the way to the target is cut in the middle.
local function count_down(way, data)
  if not mode.cut_after or not way.to_target then
    return data
  end
  if #data < mode.cut_after then
    mode.cut_after = mode.cut_after - #data
    return data
  end
  data = data:sub(1, mode.cut_after)
  mode.cut_after = nil
  return data, true
end

local function take(from)
  local way = ways[from]
  local data, why, partial = from:receive(CHUNK)
  data = data or partial
  local last
  if #data > 0 then
    data, last = count_down(way, lose_after(way, data))
    way.queue[#way.queue + 1] = { due = socket.gettime() + mode.delay, data = data, last = last }
  end
  if why == "closed" then
    way.queue[#way.queue + 1] = { due = socket.gettime() + mode.delay, data = "", last = true }
    way.ended = true
  end
end

local function pass_on(from, now)
  local way = ways[from]
  if way and way.lost and not way.to_target then
    return
  end
  while way and way.queue[1] and way.queue[1].due <= now and not mode.silence do
    local first = way.queue[1]
    local sent, why, part = way.other:send(first.data)
    if sent == nil and why ~= "timeout" then
      close_pair(from)
      return
    end
    local done = sent or part
    if done < #first.data then
      first.data = first.data:sub(done + 1)
      return
    end
    table.remove(way.queue, 1)
    if first.last then
      close_pair(from, not way.ended)
      return
    end
  end
end

local commands = {
  pass = function() mode = { delay = 0 } end,
  delay = function(ms) mode.delay = tonumber(ms) / 1000 end,
  silence = function() mode.silence = true end,
  refuse = function() mode.refuse = true end,
  lose_after = function(bytes) mode.lose_after = tonumber(bytes) end,
  cut_after = function(bytes) mode.cut_after = tonumber(bytes) end,
  cut = function() close_all(false) end,
  reset = function() close_all(true) end,
}

local function obey(control)
  local client = control:accept()
  client:settimeout(1)
  local line = client:receive "*l"
  local name, argument = line:match "^(%S+)%s*(%S*)$"
  commands[name](argument)
  client:send "done\n"
  client:close()
end

local server = assert(socket.bind("127.0.0.1", listen_port))
local control = assert(socket.bind("127.0.0.1", control_port))
server:settimeout(0)

while true do
  local readers, waiting = { server, control }, false
  for one, way in pairs(ways) do
    if #way.queue < QUEUE_MAX and not way.ended and not way.lost and not mode.silence then
      readers[#readers + 1] = one
    end
    waiting = waiting or #way.queue > 0
  end
  for _, one in ipairs((socket.select(readers, nil, waiting and 0.001 or 0.05))) do
    if one == control then
      obey(control)
    elseif one == server then
      accept(server)
    elseif ways[one] then
      take(one)
    end
  end
  local now, all = socket.gettime(), {}
  for one in pairs(ways) do
    all[#all + 1] = one
  end
  for _, one in ipairs(all) do
    pass_on(one, now)
  end
end
