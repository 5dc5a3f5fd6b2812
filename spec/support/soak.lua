-- Reloads under load: rules are replaced over and over, every other time by broken ones, while
-- messages and requests flow. Every file of a generation carries the generation's mark, so a row or
-- an answer with two different marks was made by two generations.
local breakages = require "spec.support.soak.breakages"
local process = require "spec.support.process"
local road = require "spec.support.road"
local wait = require "spec.support.wait"

local FIXTURE = "spec/fixtures/soak"
local FILES = { "init.lua", "lib/mark.lua", "streams/marks.lua", "endpoints/marks.lua" }

local soak = {}
local Soak = {}
Soak.__index = Soak

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function shell(form, ...)
  local command = form:format(...)
  assert(os.execute(command) == 0, command)
end

local function find(text, part)
  return assert(text:find(part, 1, true), part)
end

local function broken(text, breakage)
  if breakage.cut then return text:sub(1, find(text, breakage.cut) - 1) end
  if not breakage.line then return breakage.by .. text end
  local from = find(text, breakage.line)
  return text:sub(1, from - 1) .. breakage.by .. text:sub(text:find("\n", from), -1)
end

-- Puts a whole directory into force at one stroke, as Kubernetes does.
function Soak:swap(mark, breakage)
  self.version = self.version + 1
  local name = ("%s/%d"):format(self.directory, self.version)
  shell("mkdir -p %s/lib %s/streams %s/endpoints", name, name, name)
  for _, path in ipairs(FILES) do
    local text = read(FIXTURE .. "/" .. path):gsub("local MARK = 0", "local MARK = " .. mark)
    if breakage and breakage.file == path then text = broken(text, breakage) end
    write(name .. "/" .. path, text)
  end
  shell("ln -s %d %s/next && mv -T %s/next %s/rules", self.version, self.directory, self.directory,
    self.directory)
  shell("rm -rf %s/%d", self.directory, self.version - 1)
end

local function program(name, ...)
  return process.spawn {
    name = name, argv = { "luajit", ("spec/support/soak/%s.lua"):format(name), ... },
  }
end

function soak.open()
  local self = setmetatable({ version = 0, directory = process.directory() }, Soak)
  self:swap(1)
  self.road = road.open { start = false }
  self.road.database:exec [[
    CREATE TABLE marks (id bigint PRIMARY KEY, of_module bigint NOT NULL, of_file bigint NOT NULL)]]
  self.road:start {
    LUA_DIR = self.directory .. "/rules", RULES_WATCH_MS = 100, RULES_LOAD_MS = 300,
    RULES_ENV = "SOAK_TOPIC", SOAK_TOPIC = self.road.topic, LOG_LEVEL = "warn",
  }
  self.service = self.road.service
  self.flows = {
    program("messages", self.road.broker.bootstrap, self.road.topic),
    program("requests", self.service.port, "0"),
    program("requests", self.service.port, "0.05"),
  }
  return self
end

function Soak:rules()
  return assert(self.service:admin "/admin/rules").json
end

-- Saving is enough; a signal or the admin listener only make it quicker.
local triggers = {
  function() end,
  function(self) self.service.process:signal "HUP" end,
  function(self) assert(self.service:admin("/admin/rules/reload", { method = "POST" })) end,
}

local function mark_now(self)
  return self.service:get("/marks").json.of_file
end

-- Valid: the new mark answers. Broken: /admin/rules says so, and the old mark still answers.
function Soak:reload(number)
  local breakage = number % 2 == 0 and breakages[number / 2 % #breakages + 1] or nil
  self:swap(number + 1, breakage)
  triggers[number % #triggers + 1](self)
  if breakage then
    wait.till(("reload %d, %s, is refused"):format(number, breakage.name), 20, function()
      local failure = self:rules().lastFailure
      local said = type(failure) == "table" and failure.error or "nothing"
      return said:find(breakage.says, 1, true), "it says: " .. said
    end)
    local mark = mark_now(self)
    assert(mark == self.mark,
      ("%s: mark %d answers, not %d"):format(breakage.name, mark, self.mark))
  else
    self.mark = number + 1
    wait.till(("the rules of reload %d answer"):format(number), 20, function()
      return mark_now(self) == self.mark
    end)
  end
end

-- Bytes that the service holds in memory.
function Soak:resident()
  local pages = read(("/proc/%d/statm"):format(self.service.process.pid)):match "^%d+ (%d+)"
  return tonumber(pages) * 4096
end

function Soak:requests()
  local done, wrong = 0, {}
  for i = 2, #self.flows do
    local output = self.flows[i]:output()
    done = done + tonumber(output:match ".*done (%d+)" or 0)
    for line in output:gmatch "[^\n]+" do
      if not line:find "^done %d+$" then wrong[#wrong + 1] = line end
    end
  end
  return done, wrong
end

-- Ends the flows, waits for the last message, and counts.
function Soak:verdict()
  for _, flow in ipairs(self.flows) do flow:kill() end
  self.road:wait_ingested(60)
  local database = self.road.database
  local _, sent = self.road.broker:watermarks(self.road.topic)
  local done, wrong = self:requests()
  return {
    messages = sent,
    lost = sent - database:number "SELECT count(*) FROM marks",
    rejected = database:number "SELECT count(*) FROM rejected_messages",
    mixed = database:number "SELECT count(*) FROM marks WHERE of_module <> of_file",
    backwards = database:number [[
      SELECT count(*) FROM (SELECT of_file - lag(of_file) OVER (ORDER BY id) AS step FROM marks) s
      WHERE step < 0]],
    marks = database:number "SELECT count(DISTINCT of_file) FROM marks",
    requests = done,
    wrong = wrong,
  }
end

function Soak:close()
  for _, flow in ipairs(self.flows or {}) do flow:kill() end
  self.road:close()
end

return soak
