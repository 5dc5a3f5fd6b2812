-- docs/OPERATIONS.md with a service that has seen something: its commands run as they stand, and
-- its list of metrics is the program's.
local http = require "spec.support.http"
local markdown = require "spec.support.markdown"
local process = require "spec.support.process"
local road = require "spec.support.road"
local unistd = require "posix.unistd"
local wait = require "spec.support.wait"

local PAGE = "docs/OPERATIONS.md"
local CANDLE = '{"s":"BTCUSDT","t":1704067200000,"o":1,"h":2,"l":1,"c":2,"v":1,"seq":%d}'

-- What the page says of each metric: { type, labels }.
local function listed()
  local metrics = {}
  for name, kind, labels in markdown.chapter(PAGE, "Metrics"):gmatch
    "\n| `(core_service_[%w_]+)` | (%l+) | ([^|]-) ?|" do
    assert(not metrics[name], name .. " is listed twice")
    metrics[name] = { kind = kind, labels = labels }
  end
  return metrics
end

-- The same of what /metrics says.
local function exposed(text)
  local metrics, kinds = {}, {}
  for name, kind in text:gmatch "# TYPE (%S+) (%l+)\n" do
    kinds[name] = kind
  end
  for name, labels in text:gmatch "\n(core_service_[%w_]+)({?[^\n]-}?) [^\n]+" do
    local family = kinds[name] and name
      or name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
    local names = {}
    for label in labels:gmatch "([%w_]+)=\"" do
      if label ~= "le" then
        names[#names + 1] = label
      end
    end
    metrics[family] = { kind = kinds[family], labels = table.concat(names, ", ") }
  end
  return metrics
end

describe(PAGE, function()
  local r, rules, bin

  lazy_setup(function()
    rules = process.directory()
    bin = process.directory()
    assert(os.execute("cp -r lua " .. rules .. "/lua") == 0)
    local here = unistd.getcwd()
    assert(unistd.link(here .. "/scripts/migrate", bin .. "/core-service-migrate", true))
    local program = os.getenv "CORE_SERVICE" or "build/core-service"
    assert(unistd.link(program:find "^/" and program or here .. "/" .. program,
      bin .. "/core-service", true))
    r = road.open { env = { LUA_DIR = rules .. "/lua" } }
    r:send { CANDLE:format(1), CANDLE:format(2), '{"s":"BTCUSDT"}', "no JSON" }
    r:missed "symbol=BTCUSDT&fromSeq=0&toSeq=9"
    assert(os.execute("echo '-- edited' >> " .. rules .. "/lua/lib/vip.lua") == 0)
    wait.till("the edited rules run", 10, function()
      return r.service:metric "core_service_rules_generation" == 2
    end)
  end)
  lazy_teardown(function()
    if r then r:close() end
  end)

  it("lists the metrics that /metrics shows, with their labels", function()
    wait.till("the messages are counted", 10, function()
      return r.service:metric(
        'core_service_ingest_rejected_total{stream="MarketDataConsumerV2",stage="decode"}')
    end)
    local said, shown = listed(), exposed(assert(http.get(r.service.admin_port, "/metrics")).body)
    local count = 0
    for name, metric in pairs(shown) do
      if not name:find "^core_service_rules_[%w_]+_total$" or said[name] then
        assert.same(metric, said[name], name)
        count = count + 1
      end
    end
    assert.is_true(count > 20)
  end)

  for i, block in ipairs(markdown.blocks(PAGE, "Runbooks")) do
    if block.language == "bash" then
      it(("shows commands that work, line %d"):format(block.line), function()
        local text = block.text:gsub("localhost:8000", "127.0.0.1:" .. r.service.port)
          :gsub("localhost:8001", "127.0.0.1:" .. r.service.admin_port)
        local env = { PATH = bin .. ":" .. os.getenv "PATH" }
        for name, value in pairs(r.service.env) do
          env[name] = name == "PATH" and env.PATH or value
        end
        env.LUA_DIR = nil
        local code, output = process.run {
          argv = { "bash", "-euo", "pipefail", "-c", (text:gsub("curl %-s", "curl -sS --fail")) },
          env = env, directory = rules, seconds = 60,
        }
        assert.equal(0, code, ("block %d:\n%s"):format(i, output))
      end)
    end
  end
end)
