-- An operator's hour: rules are edited while the service runs, with PostgreSQL and Kafka.
local http = require "spec.support.http"
local process = require "spec.support.process"
local road = require "spec.support.road"
local rules_dir = require "spec.support.rules_dir"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

local T = 1704067200000
local ORIGINAL = '\n    require "streams.market_data",'
local V2 = '\n    require "streams.market_data_v2",'
local COLUMNS = 'sequence = "int8?"'
local MISSED, MISSED_QUERY = "endpoints/klines_missed.lua", "symbol=BTCUSDT&fromSeq=1&toSeq=2"
local sent = 0

-- A candle for a minute of its own.
local function candle(close, seq)
  sent = sent + 1
  return ('{"s":"BTCUSDT","t":%d,"o":1,"h":%s,"l":1,"c":%s,"v":2,"seq":%d}'):format(
    T + sent * 60000, close, close, seq)
end

local function open(options)
  options = options or {}
  local dir = rules_dir.copy()
  local r = road.open {
    wait = options.wait, start = options.start,
    env = { LUA_DIR = dir.path, RULES_WATCH_MS = options.watch_ms or 100 },
  }
  finally(function() r:close() end)

  function r.rules()
    return assert(r.service:admin "/admin/rules").json
  end
  function r.failure()
    local failure = r.rules().lastFailure
    return type(failure) == "table" and failure.error or nil
  end
  function r.post(what, body)
    return assert(r.service:admin("/admin/rules/" .. what, { method = "POST", body = body }))
  end
  function r.wait_refused(part)
    wait.till("it is refused: " .. part, 10, function()
      local said = r.failure() or "nothing"
      return said:find(part, 1, true), "it says: " .. said
    end)
  end
  function r.wait_generation(number)
    wait.till("generation " .. number, 10, function()
      local now = r.rules().generation
      return now == number and not r.failure(), ("%d, %s"):format(now, r.failure() or "no failure")
    end)
  end
  function r.sequence_of(close)
    return r.database:value(
      ("SELECT coalesce(sequence::text, 'none') FROM market_klines WHERE close = %d"):format(close))
  end
  return r, dir
end

local function readyz(r)
  local answer = r.service:admin "/readyz"
  return answer.status, answer.body
end

describe("an operator's hour", function()
  it("goes from V2 to the original and back by one word in init.lua", function()
    local r, dir = open()
    r:send { candle(10, 1) }
    dir:edit("init.lua", V2, ORIGINAL)
    r.wait_generation(2)
    assert.are.equal("MarketDataConsumer", r.rules().streams[1].name)
    r:send { candle(11, 2) }
    dir:edit("init.lua", ORIGINAL, V2)
    r.wait_generation(3)
    r:send { candle(12, 3) }
    assert.are.same({ "1", "none", "3" },
      { r.sequence_of(10), r.sequence_of(11), r.sequence_of(12) })
  end)

  it("goes on by today's rules behind a transaction", function()
    local r, dir = open()
    local writer = topic.transactions(r.broker.bootstrap, "operator")
    writer:send(r.topic, { { value = candle(13, 4) } }, "commit")
    wait.till("the message and the mark behind it are read", 10, function()
      return r:progress() >= 1 and r.sequence_of(13)
    end)
    dir:edit("init.lua", V2, ORIGINAL)
    r.wait_generation(2)
    r.broker:send_all(r.topic, { candle(14, 5) })
    wait.till("the next message is stored", 10, function() return r.sequence_of(14) end)
    assert.are.equal("none", r.sequence_of(14))
  end)

  it("adds a field to an answer", function()
    local r, dir = open()
    assert.is_nil(r:missed(MISSED_QUERY).json.source)
    dir:save("endpoints/hello.lua", [[
      return {
        method = "GET", paths = { "/hello" },
        queries = {},
        reply = function() return 200, { hello = "world" } end,
      }]])
    dir:edit("init.lua", "endpoints = {", 'endpoints = {\n    require "endpoints.hello",')
    r.wait_generation(2)
    assert.are.same({ hello = "world" }, r.service:get("/hello").json)
    dir:edit("endpoints/hello.lua", 'hello = "world"', 'hello = "world", source = "here"')
    r.wait_generation(3)
    assert.are.same({ hello = "world", source = "here" }, r.service:get("/hello").json)
    dir:edit("init.lua", '\n    require "endpoints.hello",', "")
    dir:delete "endpoints/hello.lua"
    wait.till("the endpoint is gone", 10, function()
      return r.service:get("/hello").status == 404
    end)
  end)

  it("breaks a file, hears where, and puts it right", function()
    local r, dir = open()
    local good = dir:edit(MISSED, "\nreturn {", "\nreturn {{")
    r.wait_refused(MISSED .. ":")
    assert.is_truthy(r.failure():find "^endpoints/klines_missed%.lua:%d+: ", r.failure())
    assert.are.equal(1, r.rules().generation)
    local status, reasons = readyz(r)
    assert.are.equal(200, status)
    assert.is_truthy(reasons:find("degraded", 1, true), reasons)
    assert.are.equal(1, r.service:metric "core_service_rules_degraded")
    assert.are.equal(200, r:missed(MISSED_QUERY).status)
    r:send { candle(20, 4) }
    assert.are.equal("4", r.sequence_of(20))

    dir:save(MISSED, good)
    wait.till("the failure is over", 10, function() return not r.failure() end)
    assert.are.equal(1, r.rules().generation)
    assert.are.equal(0, r.service:metric "core_service_rules_degraded")
  end)

  it("rolls back; neither watcher nor restart undoes it, but force or an edit does", function()
    local r, dir = open()
    dir:edit("init.lua", V2, ORIGINAL)
    r.wait_generation(2)
    local answer = r.post "rollback"
    assert.are.equal(200, answer.status, answer.body)
    assert.are.equal("MarketDataConsumerV2", r.rules().streams[1].name)

    dir:save("init.lua", dir:read "init.lua")
    assert.are.equal(409, r.post("reload").status)
    r.service:stop()
    r.service:start()
    assert.are.equal("MarketDataConsumerV2", r.rules().streams[1].name)
    assert.is_truthy(select(2, readyz(r)):find("rolled back", 1, true))
    assert.are.equal(409, r.post("reload").status)

    assert.are.equal(200, r.post("reload?force=1").status)
    assert.are.equal("MarketDataConsumer", r.rules().streams[1].name)
    assert.are.equal(200, r.post("rollback").status)
    dir:edit("init.lua", "\n", "\n-- edited\n")
    wait.till("the edit is in force", 10, function()
      return r.rules().streams[1].name == "MarketDataConsumer"
    end)
  end)

  it("answers a rollback when no crash can undo it any more", function()
    local r, dir = open()
    local first = r.rules().hash
    dir:edit("init.lua", "\n", "\n-- second\n")
    r.wait_generation(2)
    r.database:exec "BEGIN; LOCK TABLE rule_generations IN SHARE MODE"
    assert.are.equal("", http.raw(r.service.admin_port,
      "POST /admin/rules/rollback HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 0.7))
    assert.are.equal(first, r.rules().hash)
    r.database:exec "ROLLBACK"

    for round = 1, 3 do
      assert.are.equal(200, r.post("reload?force=1").status)
      local answer = r.post "rollback"
      r.service:kill()
      assert.are.equal(200, answer.status, answer.body)
      assert.is_nil(answer.json.trouble)
      r.service:start()
      assert.are.equal(first, r.rules().hash, "round " .. round)
    end
  end)

  it("says of a rollback that the database could not be told", function()
    local r, dir = open()
    dir:edit("init.lua", "\n", "\n-- second\n")
    r.wait_generation(2)
    r.database:exec [[
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON rule_generations EXECUTE FUNCTION refuse()]]
    local answer = r.post "rollback"
    assert.are.equal(200, answer.status, answer.body)
    assert.is_truthy(answer.json.trouble:find("not recorded in rule_generations yet", 1, true))
    r.database:exec "DROP FUNCTION refuse CASCADE"
    wait.till("it is recorded", 15, function()
      return r.database:number(
        "SELECT count(*) FROM rule_generations WHERE state = 'rolled_back'") == 1
    end)
  end)

  it("rolls back twice, and both stay rolled back over a restart", function()
    local r, dir = open()
    local first = r.rules().hash
    dir:edit("init.lua", "\n", "\n-- second\n")
    local second = dir:read "init.lua"
    r.wait_generation(2)
    dir:edit("init.lua", "second", "third")
    r.wait_generation(3)
    assert.are.equal(200, r.post("rollback").status)
    assert.are.equal(200, r.post("rollback").status)
    assert.are.equal(422, r.post("rollback").status) -- there is nothing before the first
    assert.are.equal(first, r.rules().hash)
    assert.are.equal(409, r.post("reload").status)
    r.service:stop()
    r.service:start()
    assert.are.equal(first, r.rules().hash)
    dir:write("init.lua", second)
    assert.are.equal(409, r.post("reload").status)
  end)

  it("goes on with the last good rules when it starts with broken ones", function()
    local r, dir = open()
    local good = r.rules().hash
    wait.till("they are recorded", 10, function()
      return r.database:number "SELECT count(*) FROM rule_generations" == 1
    end)
    r.service:stop()
    dir:edit("streams/market_data_v2.lua", "\nreturn {", "\nreturn {{")
    r.service:start()
    assert.are.equal(good, r.rules().hash)
    assert.is_truthy(r.failure():find("streams/market_data_v2.lua:", 1, true))
    local status, reasons = readyz(r)
    assert.are.equal(200, status)
    assert.is_truthy(reasons:find("degraded", 1, true), reasons)
    r:send { candle(30, 5) }
    assert.are.equal("5", r.sequence_of(30))
  end)

  it("ends the start with 2 when broken rules are all there is", function()
    local r, dir = open { start = false }
    dir:edit("init.lua", "return {", "return {{")
    r.options.wait = false
    r:start()
    assert.are.equal(2, r.service.process:wait(20).code)
    assert.is_truthy(r.service:text():find "init%.lua:%d+: ")
  end)

  it("hears the file and the column when a rule names one that is not there", function()
    local r, dir = open()
    dir:edit("streams/market_data_v2.lua", COLUMNS, COLUMNS .. ', mood = "text?"')
    r.wait_refused "streams/market_data_v2.lua: column market_klines.mood (text) is missing"
    dir:edit("streams/market_data_v2.lua", 'mood = "text?"', 'open = "text"')
    r.wait_refused "streams/market_data_v2.lua"
    dir:edit("streams/market_data_v2.lua", "klines = {", "candles = {")
    r.wait_refused "streams/market_data_v2.lua"
    assert.are.equal(1, r.rules().generation)
  end)

  it("hears the file and the query when PostgreSQL cannot run its SQL", function()
    local r, dir = open()
    dir:save("endpoints/hello.lua", [[
      return {
        method = "GET", paths = { "/hello" },
        queries = { { sql = "select count(*) as n from klines" } },
        reply = function(_, _, results) return 200, { n = results[1][1].n } end,
      }]])
    dir:edit("init.lua", "endpoints = {", 'endpoints = {\n    require "endpoints.hello",')
    r.wait_generation(2)
    dir:edit("endpoints/hello.lua", "count(*) as n", "count(*) as n, max(mood) as mood")
    r.wait_refused 'endpoints/hello.lua: queries[1].sql: ERROR: column "mood" does not exist'
    assert.are.same({ n = 0 }, r.service:get("/hello").json)
    dir:edit("endpoints/hello.lua", "max(mood)", "max(close)")
    r.wait_generation(3)
    dir:edit("endpoints/hello.lua", 'klines"', 'klines where symbol = $1"')
    r.wait_refused "endpoints/hello.lua: queries[1].sql: it has 1 parameters, types has 0"
  end)

  it("reloads while the database is away, and is checked when it is back", function()
    local r, dir = open()
    local cluster = r.database.cluster
    local function start_cluster()
      if not cluster.process:is_running() then cluster:start() end
      pcall(cluster.admin(cluster).exec, cluster:admin(), "SELECT 1") -- its connection is lost
    end
    r.database:close()
    cluster:stop()
    finally(function()
      start_cluster()
      r:close()
    end)
    dir:edit("init.lua", "\n", "\n-- away\n")
    r.wait_generation(2)
    assert.is_false(r.rules().verified)
    assert.are.equal(200, r.post("rollback").status)
    dir:edit("streams/market_data_v2.lua", COLUMNS, COLUMNS .. ', mood = "text?"')
    r.wait_refused "market_klines.mood" -- by the schema last seen
    start_cluster()
    wait.till("it is checked and recorded", 30, function()
      return r.rules().verified
        and r.database:number(
          "SELECT count(*) FROM rule_generations WHERE state = 'rolled_back'") == 1
    end)
  end)
end)

describe("a change of the files is noticed", function()
  local EDIT = { "init.lua", "\n", "\n-- edited\n" }

  it("when an editor renames its new file over the old one", function()
    local r, dir = open()
    dir:edit(unpack(EDIT))
    r.wait_generation(2)
  end)

  it("when a directory is swapped behind a link, as in Kubernetes", function()
    local r, dir = open { start = false }
    dir:become_config_map()
    r:start()
    for number = 2, 4 do
      dir:swap(unpack(EDIT))
      r.wait_generation(number)
    end
  end)

  it("once, when a file is written in two halves", function()
    local r, dir = open { watch_ms = 300 }
    local text = dir:read "init.lua"
    dir:write("init.lua", text:sub(1, 200))
    dir:write("init.lua", text .. "-- edited\n")
    r.wait_generation(2)
    assert.is_nil(r.service:metric 'core_service_rules_reloads_total{outcome="failed"}')
  end)

  it("when it cannot be read any more, and when it can again", function()
    local r, dir = open()
    local good = dir:read "lib/symbol.lua"
    dir:delete "lib/symbol.lua"
    assert(os.execute(("ln -s nowhere %s/lib/symbol.lua"):format(dir.path)) == 0)
    r.wait_refused "lib/symbol.lua: No such file or directory"
    assert.are.equal(1, r.service:metric 'core_service_rules_reloads_total{outcome="failed"}')
    dir:save("lib/symbol.lua", good)
    r.wait_generation(1)
    assert(os.execute(("mv %s %s.away"):format(dir.path, dir.path)) == 0)
    r.wait_refused(dir.path .. "/: No such file or directory")
    assert(os.execute(("mv %s.away %s"):format(dir.path, dir.path)) == 0)
    r.wait_generation(1)
  end)

  it("for both of two edits within a second", function()
    local r, dir = open()
    dir:edit("init.lua", "\n", "\n-- one\n")
    dir:edit("init.lua", "-- one", "-- two")
    local text = dir:read "init.lua"
    wait.till("the second edit is in force", 10, function()
      local stored = r.database:value
        "SELECT files ->> 'init.lua' FROM rule_generations ORDER BY generation DESC LIMIT 1"
      return stored == text
    end)
  end)

  it("on SIGHUP and on POST, without a watcher", function()
    local r, dir = open { watch_ms = 0 }
    dir:edit(unpack(EDIT))
    r.service.process:signal "HUP"
    r.wait_generation(2)
    dir:edit(unpack(EDIT))
    local answer = r.post "reload"
    assert.are.same({ 200, "published", 3 },
      { answer.status, answer.json.outcome, answer.json.generation })
    assert.are.equal("unchanged", r.post("reload").json.outcome)
  end)
end)

describe("POST /admin/rules/check", function()
  local function tar(dir)
    local path = process.directory() .. "/rules.tar"
    assert(os.execute(("tar --format=ustar -C %s -cf %s ."):format(dir.path, path)) == 0)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("says what becomes of a tar of rules, and puts nothing into force", function()
    local r = open { watch_ms = 0 }
    local candidate = rules_dir.copy()
    local answer = r.post("check", tar(candidate))
    assert.are.same({ 200, true, "checked" },
      { answer.status, answer.json.ok, answer.json.schema })
    candidate:edit("streams/market_data_v2.lua", COLUMNS, COLUMNS .. ', mood = "text?"')
    answer = r.post("check", tar(candidate))
    assert.are.equal(422, answer.status)
    assert.is_truthy(answer.json.error:find("market_klines.mood", 1, true), answer.body)
    candidate:write("init.lua", "return {")
    answer = r.post("check", tar(candidate))
    assert.are.equal(422, answer.status)
    assert.is_truthy(answer.json.error:find "^init%.lua:1: ", answer.body)
    assert.are.equal(1, r.rules().generation)
  end)
end)

describe("metrics of the rules", function()
  it("tell the generation, reloads by outcome, the time of the last and errors by file", function()
    local r, dir = open { watch_ms = 0 }
    dir:edit("streams/market_data_v2.lua", "map = function(k)",
      'map = function(k)\n    if k.symbol == "BROKEN" then error "broken" end')
    assert.are.equal(200, r.post("reload").status)
    r:send { (candle(40, 6):gsub("BTCUSDT", "BROKEN")) }
    dir:write("init.lua", "return {")
    assert.are.equal(422, r.post("reload").status)
    local function metric(name) return r.service:metric("core_service_rules_" .. name) end
    assert.are.equal(2, metric "generation")
    assert.are.equal(2, metric 'reloads_total{outcome="published"}')
    assert.are.equal(1, metric 'reloads_total{outcome="failed"}')
    assert.are.equal(1, metric 'errors_total{file="streams/market_data_v2.lua",hook="map"}')
    assert.is_true(os.time() - metric "last_reload_timestamp_seconds" < 60)
    local age = metric "seconds_since_last_reload"
    assert.is_true(age >= 0 and age < 60)
  end)
end)
