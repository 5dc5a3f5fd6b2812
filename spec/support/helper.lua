-- Loaded by busted before any spec (.busted): what is required here is shared by all spec files of
-- a run, so one broker and one database server serve them all. They start when first asked for.
local busted = require "busted"
local process = require "spec.support.process"
require "spec.support.kafka"
require "spec.support.postgres"
require "spec.support.service"

busted.subscribe({ "test", "start" }, function()
  process.forget_ended()
  return nil, true
end)

-- A failure shows what the processes of the spec had to say.
local function show_logs()
  local tails = process.tails(15)
  if tails ~= "" then
    io.stdout:write("# ", (tails:gsub("\n", "\n# ")), "\n")
  end
  return nil, true
end
busted.subscribe({ "failure" }, show_logs)
busted.subscribe({ "error" }, show_logs)
