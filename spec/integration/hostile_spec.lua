-- Clients that mean harm, or are broken: whatever they send, they get a refusal or nothing, the
-- others get their answers meanwhile, and the service's memory stays bounded.
local http = require "spec.support.http"
local postgres = require "spec.support.postgres"
local resource = require "posix.sys.resource"
local service = require "spec.support.service"
local socket = require "socket"
local wait = require "spec.support.wait"

local MEMORY_KIB = 300 * 1024
local MIB = 1024 * 1024
local CROWD = 10000     -- idle connections, where the system lets a process have as many
local CROWD_LEAST = 2000
local SPARE_FILES = 1000 -- for all that is no connection of the crowd

local STORED = [[
  INSERT INTO market_klines
    SELECT timestamptz '2024-01-01Z' + n * interval '1 min', 'BTCUSDT', 1, 4, 0.5, 2, 10.5, 100 + n
    FROM generate_series(1, 50) n;
  INSERT INTO ingest_offsets (group_id, topic, partition, next_offset, max_sequence)
    VALUES ('core-service-market-consumer', 'market_data', 0, 500, 150);
]]

-- What an honest client asks.
local HONEST = "/api/v1/klines/missed?symbol=BTCUSDT&fromSeq=100&toSeq=150"
local USUAL = { symbol = "BTCUSDT", fromSeq = "100", toSeq = "150" }

local function encode(text)
  return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local STATEMENTS = {
  "' OR 1=1 --", "'; DROP TABLE market_klines; --", "1); SELECT pg_sleep(60); --",
  "1 UNION SELECT rolpassword FROM pg_authid", "\\'; DELETE FROM market_klines; --", "$1", "$$x$$",
  "E'\\x27'", "BTCUSDT' AND pg_sleep(60) IS NULL AND '1'='1", "/**/1=1", "%s%n%1$s", "${jndi:x}",
}

local NUMBERS = {
  "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809",
  ("9"):rep(4000), "1e400", "-1", "-0", "1.5", "NaN", "Infinity", "0x7fffffffffffffff", "1 2",
}

-- As they stand in the URI: none of them is UTF-8 without U+0000 in percent-encoding.
local MISENCODED = {
  "%00", "BTC%00USDT", "%FF", "%C0%80", "%ED%A0%80", "%F4%90%80%80", "%E2%82", "%", "%4", "%zz",
}

describe("the API in bad company", function()
  local db

  lazy_setup(function()
    db = postgres.shared():migrated "hostile"
    db:exec(STORED)
  end)

  lazy_teardown(function()
    db:drop()
  end)

  local function start(env)
    env = env or {}
    env.INGEST_WORKERS = 0
    local running = service.start { database = db, env = env }
    finally(function() running:kill() end)
    return running
  end

  -- One who means no harm is answered all the time, within the client's 10 seconds.
  local function assert_serves(running)
    local answer = running:get(HONEST)
    assert.equal(200, answer.status)
    assert.equal(50, answer.json.count)
  end

  local function memory_kib(running)
    local file = assert(io.open(("/proc/%d/status"):format(running.process.pid)))
    local text = file:read "*a"
    file:close()
    return tonumber(text:match "VmHWM:%s*(%d+)")
  end

  -- Nobody has done damage: it serves, it has not grown, its connections are closed, it ends well.
  local function assert_healthy(running)
    assert_serves(running)
    wait.till("the connections are closed", 15, function()
      local open = running:metric 'core_service_http_connections{listener="public"}'
      return open == 0, open
    end)
    assert.equal(200, running:admin("/readyz").status)
    local kib = memory_kib(running)
    assert.is_true(kib < MEMORY_KIB, kib .. " KiB at its peak")
    running:stop()
    assert.equal(50, db:number "SELECT count(*) FROM market_klines")
  end

  -- Every parameter of every path, with a function that makes the URI for a value of it.
  local function each_parameter(running, visit)
    for path, item in pairs(running:get("/openapi.json").json.paths) do
      local parameters = item.get and item.get.parameters or {}
      for _, parameter in ipairs(parameters) do
        visit(parameter.name, function(value)
          local query = {}
          local filled = path:gsub("{(%w+)}", function(name)
            return name == parameter.name and value or USUAL[name]
          end)
          for _, other in ipairs(parameters) do
            local given = other == parameter and value or other.required and USUAL[other.name]
            if other["in"] == "query" and given then
              query[#query + 1] = other.name .. "=" .. given
            end
          end
          return filled .. "?" .. table.concat(query, "&")
        end, parameter["in"])
      end
    end
  end

  -- `statuses` may have holes.
  local function assert_status(running, uri, statuses)
    local answer = running:get(uri)
    local shown = uri:sub(1, 200) .. ": " .. answer.status .. " " .. answer.body:sub(1, 200)
    local is_fine = false
    for _, status in pairs(statuses) do is_fine = is_fine or status == answer.status end
    assert.is_true(is_fine, shown)
    assert.is_table(answer.json, shown)
  end

  it("takes no statement, odd number or broken text for what it is not", function()
    local running, asked = start(), 0
    each_parameter(running, function(name, uri_of, place)
      local is_number = name:find "Seq$" or name == "limit" or name == "wait"
      for _, text in ipairs(STATEMENTS) do
        assert_status(running, uri_of(encode(text)), { 400, not is_number and 200,
          not is_number and 404 })
      end
      for _, text in ipairs(NUMBERS) do
        local may_be_large = name == "limit" and text:find "^%d+$" -- above 1000 it counts as 1000
        local is_fine = may_be_large or not is_number
        assert_status(running, uri_of(encode(text)), { 400, is_fine and 200,
          not is_number and 404 })
      end
      for _, text in ipairs(MISENCODED) do
        assert_status(running, uri_of(text), { 400 })
      end
      if place == "query" then
        assert_status(running, uri_of("1&" .. name .. "=1"), { 400 })
        assert_status(running, uri_of("1" .. ("&" .. name .. "=1"):rep(500)), { 400 })
      end
      assert_serves(running)
      asked = asked + 1
    end)
    assert.is_true(asked >= 20, asked)
    assert_healthy(running)
  end)

  -- What the service says to these bytes; a client that is cut off while it still sends counts as
  -- answered by what it got until then.
  local function say(running, bytes)
    return http.raw(running.port, bytes, 10)
  end

  local function status_of(text)
    return tonumber(text:match "^HTTP/1%.1 (%d+) ")
  end

  it("refuses URIs of a megabyte, wherever it is", function()
    local running = start()
    local long = ("a"):rep(MIB)
    for _, uri in ipairs {
      "/" .. long, "/" .. ("a/"):rep(MIB / 2), HONEST .. "&x=" .. long, "/?" .. ("&"):rep(MIB),
      "/?" .. ("a=1&"):rep(MIB / 4), "/?x=" .. ("%41"):rep(MIB / 3), "http://" .. long .. "/",
    } do
      local answer = say(running, "GET " .. uri .. " HTTP/1.1\r\nHost: x\r\n\r\n")
      assert.equal(414, status_of(answer), uri:sub(1, 40) .. ": " .. answer:sub(1, 200))
      assert_serves(running)
    end
    assert_healthy(running)
  end)

  it("refuses floods of headers", function()
    local running = start()
    local begin = "GET /health HTTP/1.1\r\nHost: x\r\n"
    for _, headers in ipairs {
      "X: " .. ("a"):rep(MIB) .. "\r\n", ("a"):rep(MIB) .. ": x\r\n", ("A: b\r\n"):rep(MIB / 6),
      "X: a\r\n" .. (" folded\r\n"):rep(MIB / 9), ("Cookie: a=b; c=d\r\n"):rep(MIB / 18),
    } do
      local answer = say(running, begin .. headers .. "\r\n")
      assert.equal(431, status_of(answer), headers:sub(1, 20) .. ": " .. answer:sub(1, 200))
      assert_serves(running)
    end
    assert_healthy(running)
  end)

  it("answers what comes before garbage and closes at it", function()
    local running = start()
    math.randomseed(4711)
    local get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    for round = 1, 100 do
      local garbage = {}
      for i = 1, math.random(1, 3000) do garbage[i] = string.char(math.random(0, 255)) end
      garbage = table.concat(garbage)
      local before = math.random(0, 3)
      local answer = say(running, get:rep(before) .. garbage .. "\r\n\r\n")
      local _, answered = answer:gsub("HTTP/1%.1 200 ", "")
      assert.equal(before, answered, ("round %d: %s"):format(round, answer:sub(1, 1000)))
      assert.matches("HTTP/1%.1 [45]%d%d [^\n]+\r\n.*\r\n\r\n{\"error\":\"[^\"]+\"}$", answer)
      if round % 20 == 0 then assert_serves(running) end
    end
    assert_healthy(running)
  end)

  it("is not filled by who asks without end and reads no answer", function()
    local running = start()
    local requests = ("GET %s HTTP/1.1\r\nHost: x\r\n\r\n"):format(HONEST):rep(1000)
    local deaf = {}
    finally(function()
      for _, connection in ipairs(deaf) do connection:close() end
      running:kill()
    end)
    for i = 1, 20 do
      deaf[i] = assert(socket.connect("127.0.0.1", running.port))
      deaf[i]:settimeout(0)
    end
    local sent = {}
    for _ = 1, 20 do
      for i, connection in ipairs(deaf) do
        local from = (sent[i] or 0) % #requests
        local last, _, partial = connection:send(requests, from + 1)
        sent[i] = math.max(last or partial, from)
      end
      assert_serves(running)
    end
    for i, connection in ipairs(deaf) do
      connection:close()
      deaf[i] = nil
    end
    assert_healthy(running)
  end)

  it("ends those that send a byte now and then", function()
    local running = start { HTTP_REQUEST_TIMEOUT_MS = 1500 }
    local text = ("GET %s HTTP/1.1\r\nHost: x\r\nX-Slow: "):format(HONEST) .. ("x"):rep(10000)
    local slow = {}
    for i = 1, 200 do
      slow[i] = assert(socket.connect("127.0.0.1", running.port))
      slow[i]:settimeout(0)
    end
    local told, sent, left = 0, 0, #slow
    wait.till("all slow clients are told that it took too long", 30, function()
      sent = sent + 1
      for i = 1, #slow do
        if slow[i] then
          slow[i]:send(text:sub(sent, sent))
          local line, why = slow[i]:receive "*l"
          if line == "HTTP/1.1 408 Request Timeout" then told = told + 1 end
          if line or why == "closed" then
            slow[i]:close()
            slow[i], left = false, left - 1
          end
        end
      end
      if sent % 20 == 0 then assert_serves(running) end
      return left == 0, left .. " are left"
    end)
    assert.equal(#slow, told)
    assert_healthy(running)
  end)

  -- As many files as the system lets this process have, until the spec ends.
  local function raise_files()
    local before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert(resource.setrlimit(resource.RLIMIT_NOFILE,
      { rlim_cur = before.rlim_max, rlim_max = before.rlim_max }))
    finally(function() resource.setrlimit(resource.RLIMIT_NOFILE, before) end)
    local most = before.rlim_max < 0 and math.huge or before.rlim_max
    return math.min(CROWD, most - SPARE_FILES)
  end

  it("answers beside ten thousand connections that say nothing, or half of something", function()
    local size = raise_files()
    assert.is_true(size >= CROWD_LEAST, size)
    local running = start {
      HTTP_MAX_CONNECTIONS = size + SPARE_FILES / 2, HTTP_REQUEST_TIMEOUT_MS = 300000,
    }
    local crowd = {}
    local function leave()
      for i = 1, #crowd do
        crowd[i]:close()
        crowd[i] = nil
      end
    end
    finally(function()
      leave()
      running:kill()
    end)
    local half = ("GET %s HTTP/1.1\r\nHost: x\r\nX-Half: "):format(HONEST)
    for i = 1, size do
      local connection = assert(socket.connect("127.0.0.1", running.port))
      connection:setoption("linger", { on = true, timeout = 0 }) -- leaves no port behind
      connection:settimeout(0)
      if i % 2 == 0 then connection:send(half) end
      crowd[i] = connection
      if i % 500 == 0 then assert_serves(running) end
    end
    wait.till("all connections are seen", 30, function()
      local open = running:metric 'core_service_http_connections{listener="public"}'
      return open >= size, open
    end)
    for i = 2, size, 2 do
      crowd[i]:send "x"
      if i % 1000 == 0 then assert_serves(running) end
    end
    assert.is_true(memory_kib(running) < MEMORY_KIB)
    -- One of them says the rest, and is answered like anybody.
    crowd[2]:settimeout(10)
    assert(crowd[2]:send "\r\n\r\n")
    assert.equal("HTTP/1.1 200 OK", crowd[2]:receive "*l")
    leave()
    assert_healthy(running)
  end)
end)
