-- One process at a time writes a partition.
local moves = require "spec.support.moves"

local turns = {}

-- Every turn at a partition must have begun where the process said that it goes on: with a new
-- assignment by the group, not in the middle of another's work. Returns how many turns there were.
function turns.check(s)
  local count = 0
  for partition, list in pairs(moves.turns(s.database, s.topic)) do
    local at
    for _, turn in ipairs(list) do
      assert(not at or turn.from == at, ("partition %d: %s began at %d behind a turn to %s")
        :format(partition, turn.process, turn.from, tostring(at)))
      local n = tonumber(turn.process:match "^%d+")
      local said = ("partition %s/%d goes on at offset %d ("):format(s.topic, partition, turn.from)
      assert(s.services[n]:text():find(said, 1, true), ("partition %d: %s wrote from %d to %d " ..
        "without having been given it there"):format(partition, turn.process, turn.from, turn.to))
      at = turn.to
    end
    count = count + #list
  end
  return count
end

return turns
