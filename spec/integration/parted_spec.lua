-- The API on a table with a thousand parts, asked by many at once: no answer fails, none is wrong,
-- and no statement opens more than three of them.
local cjson = require "cjson"
local parted = require "spec.support.parted"
local postgres = require "spec.support.postgres"
local service = require "spec.support.service"
local socket = require "socket"

local CLIENTS, ROUNDS = 64, 15
local PARTS = 3

-- SPEC_SEED repeats a run.
local SEED = tonumber(os.getenv "SPEC_SEED") or os.time() % 100000

describe(("a table with a thousand parts (SPEC_SEED=%d)"):format(SEED), function()
  local db, running

  lazy_setup(function()
    db = postgres.shared():migrated "parted"
    parted.split(db)
    parted.fill(db)
    running = service.start { database = db, env = { INGEST_WORKERS = 0 } }
  end)

  lazy_teardown(function()
    if running then running:stop() end
    db:drop()
  end)

  -- A client of its own connection, which is kept.
  local function new_client()
    local connection = assert(socket.connect("127.0.0.1", running.port))
    connection:settimeout(30)
    return { connection = connection }
  end

  local function ask(client)
    client.from = math.random(0, parted.HIGHEST - 1)
    client.to = client.from
      + (math.random() < 0.5 and math.random(1, 100) or math.random(1, parted.HIGHEST))
    client.limit = math.random(1, 50)
    assert(client.connection:send(([[GET /api/v1/klines/missed?symbol=%s&fromSeq=%d&toSeq=%d]]
      .. "&limit=%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(parted.SYMBOL, client.from, client.to,
      client.limit)))
  end

  local function hear(client)
    local status, size = assert(client.connection:receive "*l"), nil
    repeat
      local line = assert(client.connection:receive "*l")
      size = size or tonumber(line:match "^Content%-Length: (%d+)")
    until line == ""
    local body = assert(client.connection:receive(size))
    assert(status == "HTTP/1.1 200 OK", status .. " " .. body)
    return cjson.decode(body)
  end

  local function check(client, body)
    local to = body.hasMore and body.nextFromSeq or client.to
    assert.equal(parted.count(client.from, to), body.count)
    assert.is_true(body.count <= client.limit)
    local before = client.from
    for _, entry in ipairs(body.data) do
      assert.is_true(entry.seq > before and entry.seq <= to)
      before = entry.seq
    end
    assert.equal(client.to <= parted.HIGHEST, body.complete)
  end

  it("answers 64 clients that ask for any range, and opens three parts for each at most", function()
    math.randomseed(SEED)
    local clients, most = {}, 0
    for i = 1, CLIENTS do clients[i] = new_client() end
    for _ = 1, ROUNDS do
      for _, client in ipairs(clients) do ask(client) end
      for i, client in ipairs(clients) do
        if i % 8 == 1 then most = math.max(most, parted.most_locked(db)) end
        check(client, hear(client))
      end
    end
    for _, client in ipairs(clients) do client.connection:close() end
    assert.is_true(most >= 1 and most <= PARTS, most)
  end)
end)
