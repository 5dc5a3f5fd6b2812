-- Whatever fails, every message ends exactly once in a row, a skip or rejected_messages.
-- scripts/faults runs more rounds: FAULT_ROUNDS (of each), FAULT_SECONDS, FAULT_ONLY (part of a
-- name), FAULT_SEED.
local faults = require "spec.support.faults.list"
local site = require "spec.support.faults.site"
local wait = require "spec.support.wait"

local only = os.getenv "FAULT_ONLY" or ""
local seed = tonumber(os.getenv "FAULT_SEED") or os.time()
local rounds_of_each = tonumber(os.getenv "FAULT_ROUNDS")
local seconds = tonumber(os.getenv "FAULT_SECONDS")
local form = "# %-58s %6s %9s %6s %6s %6s %6s"

describe("nothing is lost, duplicated or stale after", function()
  lazy_setup(function()
    print("# FAULT_SEED=" .. seed)
    print(form:format("fault", "rounds", "messages", "lost", "twice", "stale", "s"))
  end)

  for _, fault in ipairs(faults) do
    if fault.name:find(only, 1, true) then
      it(fault.name, function()
        local why = fault.impossible and fault.impossible()
        if why then
          return pending(why)
        end
        math.randomseed(seed)
        local began = wait.now()
        local rounds = rounds_of_each or fault.rounds
        local s = site.open(fault.options and fault.options())
        finally(function() s:close() end)

        rounds = fault.run(s, rounds, seconds) or rounds
        local found = s:verdict(fault.seconds)
        print(form:format(fault.name, rounds, found.messages, found.lost, found.duplicated,
          found.stale, ("%.0f"):format(wait.now() - began)))
        assert.are.same({}, found.troubles)
        assert.are.same({ 0, 0, 0 }, { found.lost, found.duplicated, found.stale })
        assert.are.equal(found.messages,
          found.rows + found.superseded + found.skipped + found.rejected)
      end)
    end
  end
end)
