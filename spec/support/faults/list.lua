-- All faults:
--   name
--   rounds                       in CI
--   options()                    of the site
--   impossible()                 why it cannot be done on this machine; nil: it can
--   run(site, rounds, seconds)   `seconds`: nil, or for how long it is to go on at least, where it
--                                can; returns how many rounds it has then been, or nil
local list = {}
local PARTS = { "kills", "away", "chaos", "database", "disk", "ghosts", "members", "sizes",
  "topics", "rules" }
for _, part in ipairs(PARTS) do
  for _, fault in ipairs((require("spec.support.faults." .. part))) do
    list[#list + 1] = fault
  end
end
return list
