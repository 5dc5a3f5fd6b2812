-- Whether what came of a message is what its contract case asks for.
local assert = require "luassert"
local cjson = require "cjson"
local encode = require "spec.support.rules.encode"

local function full(row)
  local filled = { id = 1 }
  for column, value in pairs(row) do filled[column] = value end
  if filled.id == "NULL" then filled.id = cjson.null end
  return filled
end

return function(stream, case, result)
  local expected = case.expected
  local got = "got " .. encode(result)
  if expected.rows then
    local rows = {}
    for i, row in ipairs(expected.rows) do rows[i] = full(row) end
    assert.is_true(stream:has_rows(result, { out = rows }), got)
  elseif expected.skip then
    assert.equal(expected.skip, result.skip, got)
  else
    assert.is_string(result.reject, got)
    assert.matches(expected.reject, result.reject)
    assert.equal(expected.stage, result.stage, got)
  end
end
