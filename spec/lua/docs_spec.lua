-- The rule files and the spec that docs/RULES.md shows are run as they stand there.
local markdown = require "spec.support.markdown"
local rules = require "spec.support.rules"

-- The n-th Lua block of a chapter.
local function lua_block(chapter, n)
  local found = {}
  for _, block in ipairs(markdown.blocks("docs/RULES.md", chapter)) do
    if block.language == "lua" then found[#found + 1] = block.text end
  end
  return assert(found[n or 1], chapter)
end

describe("docs/RULES.md", function()
  local stream = lua_block "A stream"
  local endpoint = lua_block "An endpoint"
  local spec = lua_block "Try it, put it into force, take it back"

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

  it("ends the first stream with examples that pass", function()
    local kit = rules.open {
      files = {
        ["init.lua"] = [[return { streams = { require "streams.quotes" } }]],
        ["streams/quotes.lua"] = lua_block("Your first stream in ten minutes", 2),
      },
    }
    assert.is_true(assert(kit:stream("streams.quotes"):run_examples()))
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

describe("README.md", function()
  it("shows a rule that works", function()
    local kit = rules.open {
      files = {
        ["init.lua"] = [[return { streams = { require "streams.readme" } }]],
        ["streams/readme.lua"] = markdown.blocks("README.md", "How a rule looks")[1].text,
      },
    }
    local stream = kit:stream "streams.readme"
    local result = stream:map [[{"s":"btcusdt","t":1704067200000,"o":"50000","seq":7}]]
    assert.equal("BTCUSDT", result.rows.market_klines[1].symbol)
    assert.equal(7, result.rows.market_klines[1].sequence)
    assert.equal("open: not positive", stream:map [[{"s":"A","t":1704067200000,"o":0}]].reject)
  end)
end)
