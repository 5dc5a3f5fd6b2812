-- The rule files and the spec that docs/RULES.md shows are run as they stand there.
local rules = require "spec.support.rules"

local function lua_blocks(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  local blocks = {}
  for block in text:gmatch("```lua\n(.-)```") do blocks[#blocks + 1] = block end
  return blocks
end

describe("docs/RULES.md", function()
  local stream, endpoint, _, spec = unpack(lua_blocks "docs/RULES.md")

  local function open()
    return rules.open {
      files = {
        ["init.lua"] = [[return {
          streams = { require "streams.trades" },
          endpoints = { require "endpoints.last_trade" },
        }]],
        ["streams/trades.lua"] = stream,
        ["endpoints/last_trade.lua"] = endpoint,
      },
    }
  end

  it("shows a stream whose examples pass", function()
    assert.is_true(assert(open():stream("streams.trades"):run_examples()))
  end)

  it("shows an endpoint whose examples pass", function()
    assert.is_true(assert(open():endpoint("endpoints.last_trade"):run_examples()))
  end)

  describe("shows a spec that passes:", function()
    local chunk = assert(loadstring(spec, "@docs/RULES.md"))
    local function kit_with_the_page()
      return { open = open }
    end
    setfenv(chunk, setmetatable({ require = kit_with_the_page }, { __index = getfenv() }))
    chunk()
  end)
end)
