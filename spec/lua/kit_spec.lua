local rules = require "spec.support.rules"

local STREAM = [[
return {
  name = "S", topic = "s",
  fields = { id = "int8" }, shapes = { { id = "id" } },
  tables = { t = { columns = { id = "int8" }, key = { "id" } } },
  map = function(k) return { t = { id = k.id } } end,
  %s
}]]

local ENDPOINT = [[
return {
  method = "GET", paths = { "/x" },
  request = function(req) return { id = req.query.id } end,
  queries = {
    { sql = "select $1", types = { "int8" }, params = function(_, p) return { p.id } end },
  },
  reply = function(_, _, results) return 200, { rows = #results[1] } end,
  %s
}]]

local function kit_with(stream, endpoint)
  return rules.open {
    dir = "spec/fixtures",
    files = {
      ["init.lua"] = 'return { require "s", require "e" }',
      ["s.lua"] = STREAM:format(stream or ""),
      ["e.lua"] = ENDPOINT:format(endpoint or ""),
    },
  }
end

describe("the kit", function()
  it("fails an example whose rows differ", function()
    local kit = kit_with [[examples = {
      { message = '{"id":1}', rows = { t = { id = 1 } } },
      { message = '{"id":1}', rows = { t = { id = 2 } } },
    }]]
    local fine, trouble = kit:stream("s"):run_examples()
    assert.is_nil(fine)
    assert.equal('example 2: expected rows {"t":{"id":2}}, got rows {"t":[{"id":1}]}', trouble)
  end)

  it("fails an example whose reason differs", function()
    local kit = kit_with [[examples = { { message = "{}", reject = "too late" } }]]
    local _, trouble = kit:stream("s"):run_examples()
    assert.equal("example 1: expected reject too late, got reject no shape fits: 1 lacks id",
      trouble)
  end)

  it("fails an example that expects nothing, or two things", function()
    for _, rest in ipairs { "", 'rows = { t = { id = 1 } }, skip = "x"' } do
      local kit = kit_with(([[examples = { { message = '{"id":1}', %s } }]]):format(rest))
      assert.equal("example 1: expected one of rows, skip and reject",
        select(2, kit:stream("s"):run_examples()))
    end
  end)

  it("fails an endpoint's example whose body differs", function()
    local kit = kit_with("", [[examples = {
      {
        request = { query = { id = "1" } }, results = { { {} } },
        status = 200, body = { rows = 2 },
      },
    }]])
    assert.equal('example 1: expected 200 {"rows":2}, got 200 {"rows":1}',
      select(2, kit:endpoint("e"):run_examples()))
  end)

  it("runs an endpoint's example without a request", function()
    local kit = kit_with("", "examples = { { results = { {} }, status = 200 } }")
    assert.is_true(kit:endpoint("e"):run_examples())
  end)

  it("hands a body that is a table over as JSON, as the service does", function()
    local kit = kit_with("", [[
      name = "E", examples = {
        { request = { body = { a = 1 } }, results = { {} }, status = 200 },
      }]])
    local seen
    kit.definitions.e.request = function(req)
      seen = req.body
      return {}
    end
    assert.is_true(kit:endpoint("e"):run_examples())
    assert.equal('{"a":1}', seen)
  end)

  it("fails a request for which the spec has no rows", function()
    assert.has_error(function() kit_with():endpoint("e"):call { query = { id = "1" } } end,
      "queries[1] is run, the spec has no rows for it")
  end)

  it("fails a value that does not fit its type", function()
    assert.has_error(function()
      kit_with():endpoint("e"):call { query = { id = "x" }, results = { {} } }
    end, 'queries[1]: $1: expected a whole number, got "x"')
  end)

  it("names what is wrong with a definition", function()
    local function refuses(text, trouble)
      assert.has_error(function()
        kit_with(text):stream "s"
      end, "s: " .. trouble)
    end
    refuses('colour = "red"', "colour: unknown")
    refuses('fields = { id = "int" }', "fields.id: int is no type")
    refuses('fields = { id = "int8", x = "text" }', "shapes[1]: lacks x, which is required")
    refuses('shapes = { { id = "id", x = "x" } }', "shapes[1].x: there is no such field")
    refuses('identify = { symbol = "x" }', "identify.symbol: there is no field x")
    refuses('saved = "Saved"', "saved: %d was expected once")
    refuses('optional = "yes"', "optional: true or false was expected")
    refuses('numbering = { dense = { "x" } }', "numbering.dense: there is no field x")
    refuses('tables = { t = { columns = { id = "int8" }, key = { "x" } } }',
      "tables.t.key: there is no column x")
  end)

  it("loads what is asked for only", function()
    assert.has_error(function() rules.open():stream "streams.market_data" end,
      "streams.market_data: neither live nor in the kit's modules: rules.open { modules = {...} }")
  end)

  it("keeps one kit's rules apart from another's", function()
    assert.are_not.equal(kit_with():module "s", kit_with():module "s")
  end)
end)
