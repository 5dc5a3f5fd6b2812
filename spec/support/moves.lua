-- Who wrote what: a trigger notes every move of an offset with its transaction and with the process
-- that did it, which its connections name by the setting spec.process. The rows of a message must
-- have come about in the very transaction that moved its partition past it.
local moves = {}

local PAGE = 20000 -- of rows that are looked at together

local audit = [[
CREATE TABLE IF NOT EXISTS spec_moves (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic TEXT, partition INT, from_offset BIGINT,
  to_offset BIGINT, process TEXT DEFAULT coalesce(current_setting('spec.process', true), ''),
  xid TEXT DEFAULT pg_current_xact_id()::text);
CREATE OR REPLACE FUNCTION spec_note_move() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO spec_moves (topic, partition, from_offset, to_offset)
  VALUES (NEW.topic, NEW.partition,
    CASE WHEN TG_OP = 'UPDATE' THEN OLD.next_offset ELSE NEW.next_offset END, NEW.next_offset);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER spec_note_move AFTER INSERT OR UPDATE OF next_offset ON ingest_offsets
  FOR EACH ROW EXECUTE FUNCTION spec_note_move();]]

function moves.watch(database)
  database:exec(audit)
end

-- `url` for the connections of a process with this name.
function moves.named(url, process)
  return url .. (url:find("?", 1, true) and "&" or "?") .. "options=-c%20spec.process%3D" .. process
end

-- Per transaction: { { partition, from, to }, ... }
local function by_transaction(database, topic)
  local all = {}
  for _, move in ipairs(database:rows(([[
    SELECT xid, partition, from_offset, to_offset FROM spec_moves WHERE topic = '%s']])
    :format(topic))) do
    all[move.xid] = all[move.xid] or {}
    table.insert(all[move.xid], { partition = tonumber(move.partition),
      from = tonumber(move.from_offset), to = tonumber(move.to_offset) })
  end
  return all
end

local function covers(list, partition, offset)
  for _, move in ipairs(list or {}) do
    if move.partition == partition and move.from <= offset and offset < move.to then
      return true
    end
  end
end

-- Calls complain(serial) for each row that was written in a transaction which did not move the
-- message's partition past it. place_of(serial): partition and offset, nil for no message.
function moves.check_writes(database, topic, place_of, complain)
  local all, last = by_transaction(database, topic), 0
  repeat
    local page = database:rows(([[
      SELECT id, serial, xid FROM spec_writes WHERE id > %d ORDER BY id LIMIT %d]]):format(last,
      PAGE))
    for _, row in ipairs(page) do
      local partition, offset = place_of(tonumber(row.serial))
      if partition and not covers(all[row.xid], partition, offset) then
        complain(row.serial)
      end
      last = tonumber(row.id)
    end
  until #page < PAGE
end

-- Who had each partition, in turn: { [partition] = { { process, from, to }, ... } }; what one
-- process wrote in one go is one entry.
function moves.turns(database, topic)
  local turns = {}
  for _, move in ipairs(database:rows(([[
    SELECT partition, from_offset, to_offset, process FROM spec_moves
    WHERE topic = '%s' AND from_offset <> to_offset ORDER BY id]]):format(topic))) do
    local partition = tonumber(move.partition)
    turns[partition] = turns[partition] or {}
    local list = turns[partition]
    local from, to = tonumber(move.from_offset), tonumber(move.to_offset)
    local last = list[#list]
    if last and last.process == move.process and last.to == from then
      last.to = to
    else
      list[#list + 1] = { process = move.process, from = from, to = to }
    end
  end
  return turns
end

return moves
