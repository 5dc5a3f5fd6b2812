-- Trading pair symbols, as the tables keep them: upper case.
local MAX_BYTES = 20 -- symbol VARCHAR(20)

local symbol = {}

-- "btcusdt" -> "BTCUSDT"; nil and the reason for what is no symbol.
function symbol.parse(text)
  local upper = text:upper()
  if upper == "" then return nil, "symbol: is empty" end
  if #upper > MAX_BYTES then
    return nil, ("symbol: is longer than %d bytes"):format(MAX_BYTES)
  end
  if not upper:find("^[A-Z0-9_.%-]+$") then
    return nil, "symbol: only A-Z, 0-9 and _ . - are allowed"
  end
  return upper
end

return symbol
