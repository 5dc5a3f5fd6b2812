-- docs/OPERATIONS.md against the program: its settings are those of --help, its log lines those of
-- the sources, its alerts those of the file. Metrics and commands: spec/integration.
local markdown = require "spec.support.markdown"
local service = require "spec.support.service"

local PAGE = "docs/OPERATIONS.md"
local ALERTS = "docker/prometheus/alerts.yml"
local DASHBOARD = "docker/grafana/dashboards/core-service.json"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local function files(pattern)
  local listing = io.popen("ls " .. pattern)
  local found = {}
  for path in listing:lines() do
    found[#found + 1] = path
  end
  listing:close()
  return found
end

-- The calls of log_warn, log_error and log_limited in a source, as { level, arguments from the
-- component on }.
local function calls(text)
  local found = {}
  for level, call in text:gmatch "%slog_(%l+)(%b())" do
    if level == "limited" then
      local name, rest = call:match "^%(.-LOG_(%u+),%s*(.*)$"
      found[#found + 1] = name and { name:lower(), "(" .. rest }
    else
      found[#found + 1] = { level, call }
    end
  end
  return found
end

-- The pieces of constant text in the format of one call.
local function constant_text(call)
  local pieces = {}
  local format = call:gsub('^%b()', function(arguments)
    return arguments:gsub('^%(%s*"[^"]*",', "(")
  end)
  format = format:gsub('"%s*PRI[%w]+%s*"', "d"):gsub('"%s+"', "")
  local literal = format:match '"([^"]*)"' or ""
  for piece in (literal:gsub("%%[-%d.*]*[lhz]*%a", "\0") .. "\0"):gmatch "([^%z]*)%z" do
    pieces[#pieces + 1] = piece
  end
  return pieces
end

local function longest(pieces)
  local best = ""
  for _, piece in ipairs(pieces) do
    if #piece > #best then best = piece end
  end
  return (best:gsub("^[%s%p]+", ""):gsub("[%s%p]+$", ""))
end

describe(PAGE, function()
  local page = read(PAGE)

  it("lists the settings as core-service --help --markdown prints them", function()
    local code, help = service.run({ "--help", "--markdown" }, { LUA_DIR = "" })
    assert.equal(0, code)
    local _, last = page:find(help, 1, true)
    assert.is_truthy(last, "it lists other settings: run scripts/document-settings")
    assert.is_truthy(page:find("^\n*## Metrics", last + 1))
  end)

  it("lists the metrics that the sources name, and no others", function()
    local listed, named = {}, {}
    for name in markdown.chapter(PAGE, "Metrics"):gmatch "\n| `(core_service_[%w_]+)` |" do
      listed[name] = true
    end
    for _, path in ipairs(files "src/*/*.c") do
      for name in read(path):gmatch '"(core_service_[%l_]+)"' do
        named[name] = true
        assert.is_true(listed[name], name .. " is not listed")
      end
    end
    for name in pairs(listed) do
      assert.is_true(named[name], name .. " is listed, but not in the sources")
    end
  end)

  it("lists every log line of level warn and error", function()
    local lines = markdown.chapter(PAGE, "Log lines")
    local missing, count = {}, 0
    for _, path in ipairs(files "src/*/*.c") do
      for _, found in ipairs(calls(read(path))) do
        local level, call = found[1], found[2]
        local text = longest(constant_text(call))
        count = count + 1
        if (level == "warn" or level == "error") and #text > 0
            and not lines:find(text, 1, true) then
          missing[#missing + 1] = ("%s: log_%s: %s"):format(path, level, text)
        end
      end
    end
    assert.is_true(count > 30)
    assert.equal("", table.concat(missing, "\n"))
  end)

  it("has a runbook for every alert, and every alert", function()
    local listed, headings = {}, {}
    for name, severity, anchor in markdown.chapter(PAGE, "Alerts"):gmatch
      "\n| `(%w+)` | (%l+) | [^\n]- | %[[^%]]+%]%(#([%l-]+)%) |" do
      listed[name] = { severity = severity, anchor = anchor }
    end
    for heading in page:gmatch "\n### ([^\n]+)" do
      headings[heading:lower():gsub(" ", "-")] = true
    end
    for body in read(ALERTS):gmatch "%- alert: ([^\n]+\n.-runbook: [^\n]+)" do
      local name = body:match "^%w+"
      local entry = listed[name]
      assert.is_truthy(entry, name .. " is not listed")
      assert.equal(body:match "severity: (%l+)", entry.severity, name)
      assert.equal(body:match "runbook: \"docs/OPERATIONS.md#([%l-]+)\"", entry.anchor, name)
      assert.is_truthy(headings[entry.anchor], "no chapter for " .. entry.anchor)
      listed[name] = nil
    end
    assert.is_nil(next(listed))
  end)

  it("knows the metrics that alerts and dashboard ask for", function()
    local metrics = markdown.chapter(PAGE, "Metrics")
    for _, path in ipairs { ALERTS, DASHBOARD } do
      local asked = 0
      for name in read(path):gmatch "core_service_[%w_]+" do
        local family = name:gsub("_bucket$", ""):gsub("_count$", "")
        asked = asked + 1
        assert.is_truthy(metrics:find("| `" .. family .. "` |", 1, true), path .. ": " .. name)
      end
      assert.is_true(asked > 5)
    end
  end)
end)
