-- What only members with `is_vip` in their token may see.
local vip = {}

-- Nil when the request may go on; else the status and the text of the refusal. Without
-- authentication (no JWT_* setting) there are no claims, and everybody may see everything.
function vip.refusal(req)
  if req.claims and req.claims.is_vip ~= true then return 403, "Insights are for VIP members" end
end

vip.response = { description = "Insights are for VIP members" } -- of status 403

return vip
