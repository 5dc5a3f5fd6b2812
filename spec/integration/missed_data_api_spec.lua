-- What docs/MISSED_DATA_API.md shows is run as it stands there: curl by a shell, JavaScript by node
-- (where it is installed), against the service with what the page says is stored.
local cjson = require "cjson"
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local PAGE = "docs/MISSED_DATA_API.md"
local ORIGIN = "http://localhost:8000"

local STORED = [[
  INSERT INTO market_klines VALUES
    ('2024-01-01 00:00Z', 'BTCUSDT', 50000, 50100, 49900, 50050, 10.5, 101),
    ('2024-01-01 00:01Z', 'BTCUSDT', 50050, 50120, 50010, 50080, 8.25, 118),
    ('2024-01-01 00:02Z', 'BTCUSDT', 50080, 50090, 49990, 50000, 12.75, 147);
  INSERT INTO ingest_offsets (group_id, topic, partition, next_offset, max_sequence)
    VALUES ('core-service-market-consumer', 'market_data', 0, 500, 180);
  INSERT INTO sequence_series
    VALUES ('market_klines', 'BTCUSDT', 'core-service-market-consumer', 'market_data', 0);
  INSERT INTO sequence_gaps
    (table_name, series, group_id, topic, partition, from_seq, to_seq, reason)
    VALUES ('market_klines', 'BTCUSDT', 'core-service-market-consumer', 'market_data', 0,
      129, 130, 'rejected');
]]

-- What comes while the JavaScript example waits for it.
local COMES = [[
  INSERT INTO market_klines
    VALUES ('2024-01-01 00:03Z', 'BTCUSDT', 50000, 50010, 49980, 50005, 1.5, 196);
  UPDATE ingest_offsets SET max_sequence = 200;
]]

local DRIVER = [[
recover("BTCUSDT", 100, 200, applyCandle).then((missing) => {
  const seqs = [...candles.values()].map((candle) => candle.seq);
  console.log(JSON.stringify({ seqs, missing }));
});
]]

local function text_of(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

-- The fenced blocks of one language, each with the block that follows it.
local function blocks(text, language)
  local found, position = {}, 1
  while true do
    local _, last, block = text:find("\n```" .. language .. "\n(.-)\n```", position)
    if not last then return found end
    local output_language, output = text:match("^\n```(%l+)\n(.-)\n```", last + 1)
    found[#found + 1] = { code = block, language = output_language, output = output }
    position = last + 1
  end
end

describe(PAGE, function()
  local page = text_of(PAGE)
  local db, running

  lazy_setup(function()
    db = postgres.shared():migrated "missed_data"
    db:exec(STORED)
    running = service.start { database = db, env = { INGEST_WORKERS = 0 } }
  end)

  lazy_teardown(function()
    if running then running:stop() end
    db:drop()
  end)

  local function here(text)
    local url = ("http://127.0.0.1:%d"):format(running.port)
    return (text:gsub(ORIGIN:gsub("%p", "%%%0"), url))
  end

  local examples = blocks(page, "bash")
  for i, example in ipairs(examples) do
    it(("shows what the service answers, example %d"):format(i), function()
      local code, output = process.run {
        argv = { "bash", "-euc", here(example.code:gsub("^curl ", "curl --silent ")) },
        seconds = 20,
      }
      assert.equal(0, code, output)
      if example.language == "json" then
        assert.same(cjson.decode(example.output), cjson.decode(output))
      else
        assert.equal("text", example.language)
        assert.equal(example.output, output)
      end
    end)
  end

  it("has examples", function()
    assert.equal(5, #examples)
  end)

  local errors = 0
  for path, status, text in page:gmatch "\n| `(/[^`]+)` | (%d+) | `([^`]+)` |" do
    errors = errors + 1
    it(("shows the error of %s"):format(path), function()
      local answer = running:get(path)
      assert.equal(tonumber(status), answer.status)
      assert.same({ error = text }, answer.json)
    end)
  end

  it("shows errors", function()
    assert.equal(9, errors)
  end)

  it("shows JavaScript that recovers a gap, also what is not stored yet", function()
    if os.execute "command -v node >/dev/null" ~= 0 then
      pending "node is not installed"
      return
    end
    local code = blocks(page, "javascript")[1].code
    local node = process.spawn {
      name = "node", argv = { "node", "-e", here(code) .. "\n" .. DRIVER },
      log = process.log_path "node",
    }
    wait.till("the frontend waits", 10, function()
      return running:metric "core_service_http_waiting" == 1, node:output()
    end)
    db:exec(COMES)
    wait.till("the frontend has recovered", 20, function()
      return node:output():find "\n$" and not node:is_running(), node:output()
    end)
    assert.same({
      seqs = { 101, 118, 147, 196 },
      missing = { { fromSeq = 129, toSeq = 130, reason = "rejected" } },
    }, cjson.decode(node:output()))
  end)
end)
