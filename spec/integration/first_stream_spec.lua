-- The chapter "Your first stream in ten minutes" of docs/RULES.md, run as it stands there beside a
-- running service.
local kafka = require "spec.support.kafka"
local markdown = require "spec.support.markdown"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local TOPIC = "quotes"
local ADMIN = "localhost:8001"

local function trim(text) return (text:gsub("[ \t]+\n", "\n"):gsub("%s+$", "")) end

local function shell(command)
  assert(os.execute(command) == 0, command)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

describe("Your first stream in ten minutes", function()
  local blocks = markdown.blocks("docs/RULES.md", "Your first stream in ten minutes")
  local directory, running, database, env, names

  lazy_setup(function()
    local broker = kafka.shared()
    database = postgres.shared():migrated "first"
    directory = process.directory()
    local program = io.popen("realpath " .. service.program()):read("*l")
    shell(("cp -r lua %s/ && mkdir %s/bin && ln -s %s %s/bin/core-service")
      :format(directory, directory, program, directory))
    local topic = broker:topic(TOPIC)
    running = service.start {
      database = database, broker = broker, topic = broker:topic "market-data", group = "first",
      env = { LUA_DIR = directory .. "/lua" },
    }
    -- What differs between a reader's machine and this one.
    names = {
      { "-t " .. TOPIC, "-t " .. topic },
      { 'topic = "' .. TOPIC .. '"', 'topic = "' .. topic .. '"' },
      { ADMIN, "localhost:" .. running.admin_port },
    }
    env = {
      PATH = directory .. "/bin:" .. os.getenv "PATH",
      DATABASE_URL = database.url,
      KAFKA_BROKERS = broker.bootstrap,
    }
  end)

  lazy_teardown(function()
    if running then running:kill() end
    if database then database:drop() end
  end)

  local function here(text)
    for _, pair in ipairs(names) do
      text = text:gsub(pair[1]:gsub("%p", "%%%0"), (pair[2]:gsub("%%", "%%%%")))
    end
    return text
  end

  local function run(text)
    local _, output = process.run {
      argv = { "bash", "-c", here(text) }, env = env, directory = directory, seconds = 30,
    }
    return trim(output)
  end

  -- `...` in what a page shows stands for anything.
  local function is_as_shown(output, shown)
    local pattern = trim(shown):gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".-")
    return output:find("^" .. pattern .. "$") ~= nil
  end

  -- What is shown comes about within seconds, as the service takes in files and messages.
  local function expect(text, expected)
    wait.till("the page's answer", 20, function()
      local output = run(text)
      return is_as_shown(output, expected), "came:\n" .. output
    end)
  end

  local steps = {
    sh = function(block, next_block)
      if next_block and next_block.language == "text" then
        expect(block.text, next_block.text)
      else
        assert.equal("", run(block.text))
      end
    end,
    lua = function(block)
      write(directory .. "/" .. block.text:match("^%-%- (%S+)\n"), here(block.text))
    end,
    text = function() end,
  }

  it("runs as it stands", function()
    if kafka.shared().mock then
      return pending "the mock cluster gives nothing to a consumer that subscribes again"
    end
    for i, block in ipairs(blocks) do
      local step = assert(steps[block.language], block.language)
      local fine, trouble = pcall(step, block, blocks[i + 1])
      if not fine then
        error(("docs/RULES.md:%d: %s"):format(block.line, tostring(trouble)), 0)
      end
    end
  end)
end)
