-- The endpoints' statements on a real PostgreSQL with plain tables and an empty ledger, from the
-- request to the answer, without the service.
local postgres = require "spec.support.postgres"
local rules = require "spec.support.rules"
local statements = require "spec.support.statements"

-- One candle a minute. PAGES: sequences 1 to 90, in groups of one to five. BIG: beyond 2^53.
-- HOLES: candles in the first and the last hour of January. MANY: enough for an index.
local ROWS = [[
  INSERT INTO market_klines
  SELECT '2024-01-01'::timestamptz + n * interval '1 min', 'PAGES', 1, 2, 1, 2, 3, s
  FROM (SELECT row_number() OVER (ORDER BY s, i) AS n, s
        FROM generate_series(1, 90) s, generate_series(0, s % 5) i) candles;
  INSERT INTO market_klines
  SELECT '2024-02-01'::timestamptz + n * interval '1 min', 'PAGES', 1, 2, 1, 2, 3, NULL
  FROM generate_series(1, 10) n;
  INSERT INTO market_klines
  SELECT '2024-01-01'::timestamptz + n * interval '1 min', 'BIG', 1, 2, 1, 2, 3,
    9223372036854775800 + n
  FROM generate_series(1, 7) n;
  INSERT INTO market_klines
  SELECT '2024-01-01'::timestamptz + n * interval '1 min', 'HOLES', 1, 2, 1, 2, 3, n
  FROM generate_series(0, 30 * 24 * 60 - 1) n WHERE n < 60 OR n >= 30 * 24 * 60 - 60;
  INSERT INTO market_klines
  SELECT '2024-01-01'::timestamptz + n / 20 * interval '1 min', 'MANY' || n % 20,
    1, 2, 1, 2, 3, n
  FROM generate_series(1, 40000) n;
  INSERT INTO klines
  SELECT '2024-01-01'::timestamptz + n * interval '1 day', 'PAGES', i, 1, 2, 1, 2, 3, n
  FROM generate_series(1, 20) n, unnest(ARRAY['1d', '1w']) i;
  ANALYZE;
]]

local ALL_TIME = { -62135596800000, 9000000000000000 }

describe("the endpoints' statements", function()
  local kit = rules.open { now_ms = 1706659200000 } -- 2024-01-31
  local db, missed, history

  lazy_setup(function()
    db = postgres.shared():migrated "endpoints"
    db:exec(ROWS)
    missed = statements.prepare(db, kit, kit:endpoint "endpoints.klines_missed")
    history = statements.prepare(db, kit, kit:endpoint "endpoints.klines")
  end)

  lazy_teardown(function()
    db:drop()
  end)

  local function ask_missed(query) return missed:ask(query) end
  local function ask_history(query) return history:ask(query) end

  describe("of klines/missed", function()
    it("leave `fromSeq` out and take `toSeq` in", function()
      local body = ask_missed { symbol = "pages", fromSeq = "10", toSeq = "15" }
      local groups = {}
      for _, entry in ipairs(body.data) do groups[entry.seq] = (groups[entry.seq] or 0) + 1 end
      assert.same({ [11] = 2, [12] = 3, [13] = 4, [14] = 5, [15] = 1 }, groups)
    end)

    it("give every row once, whatever the size of a page, and end no page in a group", function()
      for _, limit in ipairs { 1, 2, 3, 5, 7, 100, 1000 } do
        local from, rows, times, pages = 0, 0, {}, 0
        repeat
          local body = ask_missed {
            symbol = "PAGES", fromSeq = tostring(from), toSeq = "1000", limit = tostring(limit),
          }
          for _, entry in ipairs(body.data) do
            assert.is_true(entry.seq > from)
            assert.is_nil(times[entry.timestamp])
            times[entry.timestamp] = true
          end
          rows, pages = rows + body.count, pages + 1
          from = body.nextFromSeq
          assert.is_true(pages < 300)
        until not body.hasMore
        assert.equal(270, rows, "limit " .. limit)
      end
    end)

    it("order by sequence, then by time", function()
      local before_seq, before_time = 0, 0
      for _, entry in ipairs(ask_missed {
        symbol = "PAGES", fromSeq = "0", toSeq = "90", limit = "1000",
      }.data) do
        assert.is_true(entry.seq > before_seq
          or entry.seq == before_seq and entry.timestamp > before_time)
        before_seq, before_time = entry.seq, entry.timestamp
      end
      assert.equal(90, before_seq)
    end)

    it("read sequences beyond 2^53 exactly", function()
      local body, text = ask_missed {
        symbol = "BIG", fromSeq = "9223372036854775804", toSeq = "9223372036854775807",
      }
      assert.equal(3, body.count)
      for _, seq in ipairs { "05", "06", "07" } do
        assert.matches('"seq":92233720368547758' .. seq .. "[,}]", text)
      end
      assert.matches('"oldestSeq":9223372036854775801[,}]', text)
      assert.matches('"newestSeq":9223372036854775807[,}]', text)
    end)

    it("keep intervals apart", function()
      local body = ask_missed { symbol = "PAGES", fromSeq = "18", toSeq = "99", interval = "1d" }
      assert.equal(2, body.count)
      assert.equal(20, body.newestSeq)
      assert.equal(86400000, body.data[1].kline.T - body.data[1].kline.t)
    end)

    it("answer for a symbol never seen", function()
      local body = ask_missed { symbol = "NOBODY'S", fromSeq = "0", toSeq = "9" }
      assert.equal(0, body.count)
      assert.equal(kit.cs.null, body.oldestSeq)
    end)

    it("use the index on symbol and sequence", function()
      local page = missed:plan(3,
        { "MANY7", "1m", "100", "5000", 101, unpack(ALL_TIME) })
      local _, scans = page:gsub("Scan", "")
      assert.equal(1, scans, page)
      assert.matches("Index Scan using idx_market_klines_symbol_sequence", page)
    end)

    -- By guesses of a thousand rows for each function it would be compiled: 60 ms.
    it("are cheap for the planner", function()
      local text = missed:plan(1, { "MANY7", "1m", "100", "5000", "group", "topic" })
      assert.is_true(tonumber(text:match "cost=[%d.]+%.%.([%d.]+)") < 1000, text)
    end)
  end)

  describe("of klines", function()
    it("give the newest candles, oldest first", function()
      local body = ask_history { symbol = "holes", limit = "2" }
      assert.same({ 1706659140000 - 60000, 1706659140000 },
        { body.data[1].t, body.data[2].t })
      assert.is_true(body.hasMore)
    end)

    it("find candles beyond a hole and give every one once", function()
      local to, opens, count = nil, {}, 0
      repeat
        local body = ask_history { symbol = "HOLES", limit = "50", ["end"] = to }
        for _, candle in ipairs(body.data) do
          assert.is_nil(opens[candle.t])
          opens[candle.t] = true
        end
        count = count + body.count
        to = body.hasMore and ("%.0f"):format(body.nextEnd)
      until not to
      assert.equal(120, count)
    end)

    it("leave `end` out", function()
      local body = ask_history { symbol = "PAGES", interval = "1d", ["end"] = "1704326400000" }
      assert.equal(2, body.count)
      assert.equal(1704240000000, body.data[2].t)
      assert.is_false(body.hasMore)
    end)

    it("bound the time that is searched first", function()
      local text = history:plan(1,
        { "MANY7", "1m", 1704067200000, 1704069000000, 11 })
      assert.matches('"time" >= ', text)
      assert.matches('"time" < ', text)
      assert.is_nil(text:find "Seq Scan")
    end)
  end)
end)
