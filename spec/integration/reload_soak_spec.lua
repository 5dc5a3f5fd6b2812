-- Reloads while messages and requests flow, every other one broken. scripts/soak-reload runs more
-- of them: SOAK_RELOADS.
local soak = require "spec.support.soak"
local wait = require "spec.support.wait"

local MIB = 1024 * 1024
local reloads = tonumber(os.getenv "SOAK_RELOADS") or 60

describe(("after %d reloads under load, half of them broken,"):format(reloads), function()
  local s, found, memory, seconds

  lazy_setup(function()
    s = soak.open()
    local began = wait.now()
    for number = 1, reloads do
      s:reload(number)
      if number == math.ceil(reloads / 4) then memory = { s:resident() } end
    end
    memory[2] = s:resident()
    seconds = wait.now() - began
    found = s:verdict()
    print(("# %d reloads in %.0f s, %d messages, %d requests, %.1f -> %.1f MiB"):format(reloads,
      seconds, found.messages, found.requests, memory[1] / MIB, memory[2] / MIB))
  end)
  lazy_teardown(function()
    if s then s:close() end
  end)

  it("every one has ended as it should", function()
    local metric = 'core_service_rules_reloads_total{outcome="%s"}'
    assert.are.equal(math.ceil(reloads / 2) + 1, s.service:metric "core_service_rules_generation")
    assert.is_true(s.service:metric(metric:format "failed") >= math.floor(reloads / 2))
  end)

  it("no request has failed or was answered by two generations", function()
    assert.are.same({}, found.wrong)
    assert.is_true(found.requests > 10 * reloads)
  end)

  it("no message is lost or refused", function()
    assert.is_true(found.messages > 10 * reloads)
    assert.are.equal(0, found.lost)
    assert.are.equal(0, found.rejected)
  end)

  it("no message was mapped by a mixture, or by rules older than those of one before", function()
    assert.are.equal(0, found.mixed)
    assert.are.equal(0, found.backwards)
    assert.is_true(found.marks > reloads / 4)
  end)

  it("memory is as it was", function()
    assert.is_true(memory[2] < memory[1] * 1.1 + 4 * MIB,
      ("%.1f MiB, %.1f after a quarter"):format(memory[2] / MIB, memory[1] / MIB))
  end)
end)
