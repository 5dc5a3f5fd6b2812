-- All faults: { name, rounds (in CI), options (of the site), run(site, rounds) }.
local list = {}
for _, part in ipairs { "kills", "away", "database", "topics", "rules" } do
  for _, fault in ipairs((require("spec.support.faults." .. part))) do
    list[#list + 1] = fault
  end
end
return list
