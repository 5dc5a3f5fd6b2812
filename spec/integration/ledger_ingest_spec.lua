-- What ingest writes into the ledger, from real Kafka into a real PostgreSQL.
local road = require "spec.support.road"
local service = require "spec.support.service"
local topic = require "spec.support.topic"
local wait = require "spec.support.wait"

local DAY = 24 * 60 * 60 * 1000
local T = 1704067200000 -- 2024-01-01, a day's beginning

-- A candle; seq nil: without a number. options: partition, time, interval, volume.
local function candle(symbol, seq, options)
  options = options or {}
  local span = options.interval or "1m"
  return {
    value = ('{"s":"%s","i":"%s","t":%d,"o":1,"h":1,"l":1,"c":1,"v":%d%s}'):format(symbol, span,
      options.time or T, options.volume or 1, seq and (',"seq":%d'):format(seq) or ""),
    key = symbol .. "_" .. span, partition = options.partition,
  }
end

-- One that the rules refuse, its number being readable.
local function refused(symbol, seq, options)
  local all = { volume = -1 }
  for name, value in pairs(options or {}) do all[name] = value end
  return candle(symbol, seq, all)
end

local function lines(r, sql)
  local found = {}
  for i, row in ipairs(r.database:rows(sql)) do found[i] = row.line end
  return found
end

local function gaps(r)
  return lines(r, [[
    SELECT concat_ws(' ', coalesce(table_name, '*'), coalesce(series, '*'), from_seq, to_seq,
      reason) AS line
    FROM sequence_gaps ORDER BY from_seq, table_name, series, to_seq]])
end

local function ranges(r)
  return lines(r, [[
    SELECT concat_ws(' ', table_name, series, day, min_seq, max_seq, min_time, max_time) AS line
    FROM sequence_ranges ORDER BY table_name, series, day, min_seq]])
end

local function progress(r)
  return lines(r, [[
    SELECT concat_ws(' ', partition, coalesce(max_sequence::text, '-'), coalesce(hole, '-')) AS line
    FROM ingest_offsets ORDER BY partition]])
end

local function carried(r)
  return lines(r, [[
    SELECT concat_ws(' ', table_name, series, partition) AS line
    FROM sequence_series ORDER BY table_name, series, partition]])
end

local function ingested(r, symbol)
  return r.database:number(("SELECT ledger_ingested('%s', 'market_klines', '%s', '{%s}')"):format(
    r.group, symbol, r.topic))
end

local function with_road(options, body)
  local r = road.open(options)
  local fine, why = xpcall(body, debug.traceback, r)
  r:close()
  if not fine then error(why, 0) end
end

describe("the ledger, as ingest writes it,", function()
  it("knows progress, places and ranges of every series", function()
    with_road({ partitions = 2 }, function(r)
      r:send {
        candle("BTC", 10), candle("BTC", 11, { time = T + 60000 }), candle("BTC", nil),
        candle("BTC", 12, { time = T + DAY }),
        candle("BTC", 13, { interval = "5m" }), candle("ETH", 14),
        candle("ETH", 20, { partition = 1, time = T + 1 }), refused("XRP", 21, { partition = 1 }),
      }
      assert.are.same({ "0 14 -", "1 21 -" }, progress(r))
      assert.are.same({
        "klines BTC/5m 0", "market_klines BTC 0", "market_klines ETH 0", "market_klines ETH 1",
        "market_klines XRP 1",
      }, carried(r))
      assert.are.same({
        "klines BTC/5m 2024-01-01 13 13 2024-01-01 00:00:00+00 2024-01-01 00:00:00+00",
        "market_klines BTC 2024-01-01 10 11 2024-01-01 00:00:00+00 2024-01-01 00:01:00+00",
        "market_klines BTC 2024-01-02 12 12 2024-01-02 00:00:00+00 2024-01-02 00:00:00+00",
        "market_klines ETH 2024-01-01 14 20 2024-01-01 00:00:00+00 2024-01-01 00:00:00.001+00",
      }, ranges(r))
      assert.are.same({ "market_klines XRP 20 21 rejected" }, gaps(r))
      assert.are.equal(1, r.service:metric 'core_service_ingest_gaps_total{reason="rejected"}')
    end)
  end)

  it("records what is refused, and lets it go when it comes after all", function()
    with_road({}, function(r)
      r:send {
        candle("BTC", 1), refused("BTC", 2), refused("BTC", 3), refused("ETH", 4),
        { value = "no json", key = "BTC_5m" }, candle("ETH", 7),
        { value = "no json", key = "nobody" }, candle("BTC", 9),
      }
      assert.are.same({
        "market_klines BTC 1 3 rejected", "market_klines ETH 3 4 rejected",
        "klines BTC/5m 4 6 rejected", "* * 7 8 rejected",
      }, gaps(r))
      r:send { candle("BTC", 3) }
      assert.are.equal("market_klines BTC 1 2 rejected", gaps(r)[1])
      r.service:wait_for_log "sequence went back from 9 to 3"
      local counter = 'core_service_ingest_sequence_regressions_total{topic="%s",partition="0"}'
      assert.are.equal(1, r.service:metric(counter:format(r.topic)))
    end)
  end)

  it("keeps a loss open over a restart, until the next number", function()
    with_road({}, function(r)
      r:send { candle("BTC", 1), { value = "{}", key = "ETH_1m" } }
      assert.are.same({ "0 1 rejected" }, progress(r))
      r.service:kill()
      r.service:start()
      r:send { candle("BTC", 5) }
      assert.are.same({ "market_klines ETH 1 4 rejected" }, gaps(r))
      assert.are.same({ "0 5 -" }, progress(r))
    end)
  end)

  it("takes deleted messages for lost numbers of every series", function()
    with_road({}, function(r)
      r:send { candle("BTC", 1) }
      r.service:stop()
      r.broker:send_all(r.topic, { candle("BTC", 2), candle("BTC", 3) })
      topic.delete_records(r.broker.client, r.topic, 0, 3)
      r.service:start()
      r:send { candle("BTC", 6) }
      assert.are.same({ "* * 1 5 lost" }, gaps(r))
    end)
  end)

  it("lets a quiet partition hold nothing back", function()
    with_road({ partitions = 3 }, function(r)
      r:send { candle("BTC", 1), candle("BTC", 2, { partition = 1 }), candle("ETH", 50) }
      wait.till("BTC is ingested up to 50", 20, function()
        local found = ingested(r, "BTC")
        return found == 50, "it is " .. tostring(found)
      end)
      assert.are.equal(50, ingested(r, "NEVERSEEN"))
    end)
  end)

  it("does not let a partition go on where something is lost", function()
    with_road({ partitions = 2 }, function(r)
      r:send {
        candle("BTC", 1), candle("BTC", 2, { partition = 1 }), { value = "x", partition = 1 },
        candle("ETH", 50),
      }
      r:send { candle("ETH", 60) }
      wait.pause(2.5)
      assert.are.equal(2, ingested(r, "BTC"))
    end)
  end)

  it("finds what dense numbers jump over, also after a restart", function()
    with_road({ partitions = 2, env = { MARKET_DATA_NUMBERING = "dense" } }, function(r)
      r:send {
        candle("BTC", 1), candle("BTC", 2), candle("ETH", 7), candle("BTC", 5), refused("BTC", 6),
        candle("BTC", 7), candle("BTC", 1, { interval = "5m" }),
      }
      assert.are.same({
        "market_klines BTC 2 4 never_received", "market_klines BTC 5 6 rejected",
      }, gaps(r))
      assert.are.equal(7, ingested(r, "BTC"))
      r.service:kill()
      r.service:start()
      r:send { candle("ETH", 9), candle("BTC", 3) }
      assert.are.same({
        "market_klines BTC 3 4 never_received", "market_klines BTC 5 6 rejected",
        "market_klines ETH 7 8 never_received",
      }, gaps(r))
      assert.are.equal(1, r.service:metric
        'core_service_ingest_gaps_total{reason="never_received"}')
      r:send { candle("ETH", 20, { partition = 1 }) }
      r.service:wait_for_log "the series market_klines ETH is numbered densely but comes in two"
      r:send { candle("ETH", 30, { partition = 1 }) }
      assert.are.equal(3, #gaps(r))
    end)
  end)
end)

describe("a dense series that moves to another partition", function()
  local function with_moved(body)
    with_road({ partitions = 2, env = { MARKET_DATA_NUMBERING = "dense" } }, function(r)
      r:send { candle("BTC", 1), candle("BTC", 2), candle("ETH", 1), candle("ETH", 2) }
      r:send { candle("BTC", 3, { partition = 1 }), candle("BTC", 4, { partition = 1 }) }
      r.service:wait_for_log "the series market_klines BTC is numbered densely but comes in two"
      body(r)
    end)
  end

  it("counts as ingested up to where it left: nobody knows what may still come there", function()
    with_moved(function(r)
      assert.are.equal(2, ingested(r, "BTC"))
      assert.are.equal(2, ingested(r, "ETH"))
      r:send { candle("BTC", 9, { partition = 1 }) }
      assert.are.equal(2, ingested(r, "BTC"))
      assert.are.same({}, gaps(r))
    end)
  end)

  it("goes on once an operator says that it has left for good", function()
    local text = assert(io.open "docs/OPERATIONS.md"):read "*a"
    local statement = text:match "(DELETE FROM sequence_series[^\"]+)"
    with_moved(function(r)
      r.database:exec((statement:gsub("BTCUSDT", "BTC")))
      assert.are.equal(4, ingested(r, "BTC"))
      r:send { candle("BTC", 6, { partition = 1 }) }
      assert.are.equal(6, ingested(r, "BTC"))
      assert.are.same({ "market_klines BTC 4 5 never_received" }, gaps(r))
    end)
  end)
end)

describe("the ledger, however often the service is killed,", function()
  it("is what one reading would have written", function()
    with_road({ partitions = 2, start = false, wait = false,
      env = { MARKET_CONSUMER_BATCH_SIZE = 200 } }, function(r)
      local symbols = { "A", "B", "C", "D", "E" }
      local expected, lost, high = {}, {}, {}
      math.randomseed(7)
      for i = 1, 20000 do
        local n = math.random(#symbols)
        local partition = n % 2
        local time = T + math.floor(i / 7000) * DAY + i % 1000 * 60000
        if math.random(50) == 1 then
          local m = refused(symbols[n], i, { partition = partition, time = time })
          r.broker:send(r.topic, m.value, m.key, partition)
          lost[#lost + 1] = ("%s %d"):format(symbols[n], i)
        else
          local m = candle(symbols[n], i, { partition = partition, time = time })
          r.broker:send(r.topic, m.value, m.key, partition)
          local key = ("%s %d"):format(symbols[n], math.floor(i / 7000))
          expected[key] = expected[key] or { i, i }
          expected[key][2] = i
        end
        high[partition + 1] = i
      end
      r.broker:flush()
      r:start()
      for round = 1, 3 do
        wait.till("some is ingested", 60, function() return r:progress() >= round * 5000 end, 0.002)
        r.service:kill()
        r.service:start()
      end
      r.service:wait_for "/readyz"
      r:wait_ingested(60)

      assert.are.same({ ("0 %d -"):format(high[1]), ("1 %d -"):format(high[2]) }, progress(r))
      local found = {}
      for _, row in ipairs(r.database:rows [[
        SELECT series, day - '2024-01-01' AS day, min(min_seq) AS f, max(max_seq) AS t
        FROM sequence_ranges GROUP BY 1, 2]]) do
        found[row.series .. " " .. row.day] = { tonumber(row.f), tonumber(row.t) }
      end
      assert.are.same(expected, found)
      local missing = lines(r, [[
        SELECT series || ' ' || n AS line
        FROM sequence_gaps, generate_series(from_seq + 1, to_seq) n ORDER BY n]])
      assert.are.same(lost, missing)
    end)
  end)
end)

describe("the ledger's upkeep", function()
  local function partitioned(r)
    r.database:exec [[
      ALTER TABLE market_klines RENAME TO old;
      CREATE TABLE market_klines (LIKE old) PARTITION BY RANGE (time);
      DROP TABLE old;
      ALTER TABLE market_klines ADD PRIMARY KEY (time, symbol);
      CREATE TABLE mk1 PARTITION OF market_klines FOR VALUES FROM ('2024-01-01') TO ('2024-01-02');
      CREATE TABLE mk2 PARTITION OF market_klines FOR VALUES FROM ('2024-01-02') TO ('2024-01-03')]]
  end

  local function floors(r)
    return lines(r, [[
      SELECT concat_ws(' ', table_name, series, floor_seq) AS line FROM sequence_bounds
      WHERE floor_seq IS NOT NULL ORDER BY 1]])
  end

  -- They move one after the other.
  local function wait_for_floors(r, expected)
    local text = table.concat(expected, ", ")
    wait.till("the floors are " .. text, 30, function()
      local found = table.concat(floors(r), ", ")
      return found == text, found
    end)
  end

  it("moves the floor when a partition is dropped", function()
    with_road({ start = false }, function(r)
      partitioned(r)
      r:start { LEDGER_FLOOR_MS = 200 }
      r:send {
        candle("BTC", 1), candle("ETH", 2), candle("BTC", 3, { time = T + DAY }),
        candle("ETH", 4, { time = T + 60000 }), candle("ETH", 5, { time = T + DAY }),
      }
      wait.pause(0.5)
      assert.are.same({}, floors(r))
      r.database:exec "DROP TABLE mk1"
      wait_for_floors(r, { "market_klines BTC 1", "market_klines ETH 4" })
      assert.are.equal(2, #ranges(r))
      assert.are.equal(2, r.service:metric "core_service_ledger_expired_ranges_total")
    end)
  end)

  it("moves it too where rows are deleted one by one", function()
    with_road({ env = { LEDGER_FLOOR_MS = 200 } }, function(r)
      r:send {
        candle("BTC", 1), candle("BTC", 2, { time = T + 60000 }), candle("ETH", 3),
        candle("BTC", 4, { time = T + 120000 }), candle("BTC", 5, { time = T + DAY }),
        candle("ETH", 6), candle("BTC", 7, { interval = "1h" }),
      }
      r.database:exec "DELETE FROM market_klines WHERE time < '2024-01-01 00:02'"
      wait_for_floors(r, { "market_klines BTC 3", "market_klines ETH 6" })
      r.database:exec "DELETE FROM market_klines WHERE time < '2024-01-02'; DELETE FROM klines"
      wait_for_floors(r, { "klines BTC/1h 7", "market_klines BTC 4", "market_klines ETH 6" })
    end)
  end)

  local function rebuild(r)
    local code, output = service.run({ "rebuild-ledger" }, { DATABASE_URL = r.database.url })
    assert.are.equal(0, code, output)
    return output
  end

  for name, prepare in pairs { ["a plain table"] = function() end, ["partitions"] = partitioned } do
    it("fills it from " .. name .. " with what ingest would have written", function()
      with_road({ start = false }, function(r)
        prepare(r)
        r:start()
        local messages = {}
        for i = 1, 2000 do
          messages[i] = candle(({ "A", "B", "C.D" })[i % 3 + 1], i * 100, {
            time = T + math.floor(i / 1200) * DAY + i * 1000,
            interval = i % 5 == 0 and "5m" or "1m",
          })
        end
        messages[#messages + 1] = candle("A", 200100, { time = T + 999 }) -- late
        r:send(messages)
        local written = ranges(r)
        assert.is_truthy(rebuild(r):find("market_klines 2024-01-02: 3 series", 1, true))
        assert.are.same(written, ranges(r))
        r.database:exec "TRUNCATE sequence_ranges, sequence_series, sequence_bounds"
        rebuild(r)
        assert.are.same(written, ranges(r))
        assert.are.equal(200100, r.database:number(
          "SELECT base_seq FROM sequence_bounds WHERE series = 'A'"))
        rebuild(r)
        assert.are.same(written, ranges(r))
      end)
    end)
  end
end)
