-- A program: sends {"id":1}, {"id":2}, ... until it is ended.
--   luajit spec/support/soak/messages.lua BOOTSTRAP TOPIC
local rdkafka = require "spec.support.rdkafka"
local wait = require "spec.support.wait"

local AT_ONCE, PAUSE_SECONDS = 25, 0.05

local client = rdkafka.client(arg[1])
local id = 0
while true do
  for _ = 1, AT_ONCE do
    id = id + 1
    client:send(arg[2], ('{"id":%d}'):format(id))
  end
  client:flush()
  wait.pause(PAUSE_SECONDS)
end
