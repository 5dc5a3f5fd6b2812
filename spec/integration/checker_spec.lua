-- A checker that finds nothing proves nothing: here it is shown every kind of damage.
local site = require "spec.support.faults.site"

describe("the checker", function()
  local s

  setup(function()
    math.randomseed(1)
    s = site.open()
    s:feed(2000)
    s:start "ready"
    local found = s:verdict()
    assert.are.same({}, found.troubles)
    assert.is_true(found.superseded > 0 and found.skipped > 0 and found.rejected > 0)
  end)
  teardown(function()
    if s then s:close() end
  end)

  -- What it finds after the statement, which is taken back.
  local function after(sql)
    local saved = s.database.name .. "_saved"
    s.services[1]:kill()
    s.database:close()
    local admin = s.database.cluster:admin()
    admin:exec(("CREATE DATABASE %s TEMPLATE %s"):format(saved, s.database.name))
    s.database:exec(sql)
    local found = s.checker:compare()
    s.database:close()
    admin:exec(("DROP DATABASE %s WITH (FORCE)"):format(s.database.name))
    admin:exec(("ALTER DATABASE %s RENAME TO %s"):format(saved, s.database.name))
    return { lost = found.lost, duplicated = found.duplicated, stale = found.stale }, found
  end

  it("misses a row", function()
    assert.are.same({ lost = 1, duplicated = 0, stale = 0 }, after [[
      DELETE FROM market_klines WHERE ctid = (SELECT min(ctid) FROM market_klines)]])
  end)

  it("misses a rejected message", function()
    assert.are.same({ lost = 1, duplicated = 0, stale = 0 }, after [[
      DELETE FROM rejected_messages WHERE id = (SELECT min(id) FROM rejected_messages)]])
  end)

  it("misses an offset", function()
    assert.are.same({ lost = 1, duplicated = 0, stale = 0 }, after [[
      UPDATE ingest_offsets SET next_offset = next_offset - 1 WHERE partition = 0]])
  end)

  it("sees a row without a message", function()
    assert.are.same({ lost = 0, duplicated = 2, stale = 0 }, after [[
      INSERT INTO market_klines (time, symbol, volume) VALUES (now(), 'X', -1)]])
  end)

  it("sees a message that was rejected twice", function()
    assert.are.same({ lost = 0, duplicated = 1, stale = 0 }, after [[
      INSERT INTO rejected_messages (group_id, stream, topic, topic_id, partition, "offset",
        payload, stage, reason)
      SELECT group_id, stream, topic, 'x', partition, "offset", payload, stage, reason
      FROM rejected_messages LIMIT 1]])
  end)

  it("sees a row that was written twice, although nothing about it has changed", function()
    assert.are.same({ lost = 0, duplicated = 1, stale = 0 }, after [[
      UPDATE klines SET open = open WHERE ctid = (SELECT min(ctid) FROM klines)]])
  end)

  it("sees a value that no message says", function()
    assert.are.same({ lost = 0, duplicated = 1, stale = 1 }, after [[
      UPDATE klines SET close = close + 1 WHERE ctid = (SELECT min(ctid) FROM klines)]])
  end)

  it("sees a row that went back to an older number and forth again", function()
    local found = after [[
      CREATE TEMPORARY TABLE kept AS SELECT * FROM klines WHERE sequence > 1 LIMIT 1;
      UPDATE klines k SET sequence = 1 FROM kept WHERE (k.time, k.symbol, k.interval) =
        (kept.time, kept.symbol, kept.interval);
      UPDATE klines k SET sequence = kept.sequence FROM kept WHERE (k.time, k.symbol, k.interval) =
        (kept.time, kept.symbol, kept.interval);]]
    assert.are.same({ lost = 0, duplicated = 1, stale = 1 }, found)
  end)

  it("sees a row that was not written together with its offset", function()
    local counts, found = after [[
      UPDATE spec_writes SET xid = '0' WHERE id = (SELECT min(id) FROM spec_writes)]]
    assert.are.same({ lost = 0, duplicated = 0, stale = 0 }, counts)
    assert.are.equal(1, found.strayed)
  end)
end)
