-- A database of an earlier version, with candles that have numbers, is brought up to date: the
-- answers are those of a service that has ingested the same messages itself.
local postgres = require "spec.support.postgres"
local process = require "spec.support.process"
local road = require "spec.support.road"

local T = 1704067200000
local DAY = 24 * 60 * 60 * 1000

local function messages()
  local all = {}
  for seq = 1, 900 do
    local minute = math.floor(seq / 3) * 7 % 200
    local day = math.floor(seq / 400)
    all[seq] = ('{"s":"%s","i":"%s","t":%.0f,"o":1,"h":9,"l":1,"c":%d,"v":%d,"seq":%d}'):format(
      ({ "AAA", "BBB", "CCC" })[seq % 3 + 1], seq % 5 == 0 and "5m" or "1m",
      T + day * DAY + minute * 60000, seq % 9 + 1, seq, seq * 10)
  end
  return all
end

-- Migrations from number `first` to `last`, as psql would apply them.
local function apply(database, first, last)
  local names = {}
  for name in io.popen("ls migrations"):lines() do
    local number = tonumber(name:match "^(%d+)_")
    if number and number >= first and number <= last then names[#names + 1] = name end
  end
  for _, name in ipairs(names) do database:file("migrations/" .. name) end
end

local function copy_rows(from, to)
  for _, name in ipairs { "market_klines", "klines" } do
    for _, row in ipairs(from:rows("SELECT to_jsonb(k) AS line FROM " .. name .. " k")) do
      to:exec(("INSERT INTO %s SELECT * FROM jsonb_populate_record(NULL::%s, '%s')"):format(name,
        name, row.line))
    end
  end
end

describe("a database that had no ledger yet answers as one that always had it", function()
  local fresh, taken

  lazy_setup(function()
    fresh = road.open()
    fresh:send(messages())
    taken = road.open { database = postgres.shared():database "taken", start = false }
    apply(taken.database, 0, 7)
    copy_rows(fresh.database, taken.database)
  end)
  lazy_teardown(function()
    fresh:close()
    taken:close()
    taken.database:drop()
  end)

  local function answers(r)
    local found = {}
    for _, series in ipairs { "AAA", "BBB", "CCC" } do
      for _, interval in ipairs { "1m", "5m" } do
        local newest
        for _, range in ipairs { { 0, 8900 }, { 100, 2500 }, { 3990, 4110 }, { 7000, 8000 } } do
          local from, to = range[1], newest and math.min(range[2], newest) or range[2]
          local body = assert(r:missed(
            ("symbol=%s&interval=%s&fromSeq=%d&toSeq=%d"):format(series, interval, from, to))).json
          newest = newest or body.newestSeq
          -- Behind its last number only the one that reads the topic knows that there is no more.
          for i = #body.missing, 1, -1 do
            if body.missing[i].reason == "not_ingested" and body.missing[i].fromSeq >= newest then
              table.remove(body.missing, i)
            end
          end
          body.complete = nil
          found[("%s %s %d-%d"):format(series, interval, from, to)] = body
        end
      end
    end
    return found
  end

  it("when migration 008 meets the rows", function()
    apply(taken.database, 8, 99)
    assert.is_true(taken.database:number "SELECT count(*) FROM sequence_ranges" > 0)
    taken:start { INGEST_WORKERS = 0 }
    local expected = answers(fresh)
    for _, body in pairs(expected) do assert.are.same({}, body.missing) end
    assert.are.same(expected, answers(taken))
    taken.service:stop()
  end)

  it("when all migrations are applied once more, by scripts/migrate", function()
    local before = taken.database:rows "SELECT * FROM sequence_ranges ORDER BY 1, 2, 3, 4"
    local code, output = process.run {
      argv = { "scripts/migrate" }, seconds = 60,
      env = { PATH = os.getenv "PATH", DATABASE_URL = taken.database.url },
    }
    assert.are.equal(0, code, output)
    assert.are.same(before, taken.database:rows "SELECT * FROM sequence_ranges ORDER BY 1, 2, 3, 4")
    taken:start { INGEST_WORKERS = 0 }
    assert.are.same(answers(fresh), answers(taken))
  end)
end)
