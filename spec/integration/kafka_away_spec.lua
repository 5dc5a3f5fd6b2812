-- A clean stop while Kafka does not answer: what counts is in PostgreSQL, nobody has to be awaited.
local kafka = require "spec.support.kafka"
local proxy = require "spec.support.proxy"
local site = require "spec.support.faults.site"
local wait = require "spec.support.wait"

describe("SIGTERM ends the service soon", function()
  local s

  before_each(function()
    local broker = kafka.shared()
    s = site.open {
      between = proxy.start(broker.behind, broker.proxied), bad = 0,
      bootstrap = "127.0.0.1:" .. broker.proxied, env = { SHUTDOWN_TIMEOUT_MS = 30000 },
    }
    s:feed(500)
    s:start "ready"
    s:wait_ingested()
  end)
  after_each(function() s:close() end)

  local function seconds_to_stop()
    local began = wait.now()
    s.services[1]:stop(20)
    return wait.now() - began
  end

  -- What came while it was away is read at the next start, and nothing twice.
  local function goes_on()
    s:feed(500)
    s.between:tell "reset"
    s.between:tell "pass"
    s:start "ready"
    local found = s:verdict()
    assert.are.same({}, found.troubles)
  end

  it("when no broker can be reached", function()
    s.between:tell "refuse"
    s.between:tell "reset"
    s.services[1]:wait_for_log("ALL_BROKERS_DOWN", 20)
    assert.is_true(seconds_to_stop() < 15)
    goes_on()
  end)

  it("when the broker is connected, but says nothing any more", function()
    s.between:tell "silence"
    wait.pause(12)
    assert.is_true(seconds_to_stop() < 15)
    goes_on()
  end)
end)
