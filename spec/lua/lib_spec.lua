local rules = require "spec.support.rules"

describe("lib", function()
  local kit = rules.open()

  describe("check", function()
    local check = kit:module "lib.check"

    it("says the first sentence that does not hold", function()
      local trouble = check.compile {
        { "volume", "at least", 0 },
        { "volume", "at most", 9.5 },
        { "high", "at least", "low" },
      }
      assert.is_nil(trouble { volume = 0, high = 1, low = 1 })
      assert.equal("volume: -1 is below 0", trouble { volume = -1, high = 0, low = 1 })
      assert.equal("volume: 10 is above 9.5", trouble { volume = 10, high = 1, low = 1 })
      assert.equal("high: 0.1 is below low, 0.25", trouble { volume = 5, high = 0.1, low = 0.25 })
    end)

    it("passes over a field that is not there", function()
      local trouble = check.compile { { "a", "at least", 0 }, { "a", "at most", "b" } }
      assert.is_nil(trouble {})
      assert.is_nil(trouble { a = 1 })
      assert.is_nil(trouble { b = 1 })
    end)

    it("reads whole numbers that come as text", function()
      local trouble = check.compile { { "seq", "at least", 0 } }
      assert.is_nil(trouble { seq = "9223372036854775807" })
      assert.equal("seq: -9007199254740993 is below 0", trouble { seq = "-9007199254740993" })
    end)

    it("refuses a sentence that it does not understand, when the file is loaded", function()
      assert.has_error(function() check.compile { { "volume", "over", 0 } } end)
    end)
  end)

  describe("sequence", function()
    local sequence = kit:module "lib.sequence"

    it("reads decimal digits from 0 to 2^63-1", function()
      assert.equal("0", sequence.parse "0")
      assert.equal("0", sequence.parse "000")
      assert.equal("42", sequence.parse "0042")
      assert.equal("9223372036854775807", sequence.parse "9223372036854775807")
      for _, text in ipairs { "", "-1", "+1", "1.0", "1e3", "0x1", " 1", "9223372036854775808" } do
        assert.is_nil(sequence.parse(text), text)
      end
    end)

    it("compares numbers of any size", function()
      assert.is_true(sequence.is_below("9", "10"))
      assert.is_false(sequence.is_below("10", "9"))
      assert.is_false(sequence.is_below("10", "10"))
      assert.is_true(sequence.is_below("9223372036854775806", "9223372036854775807"))
    end)

    it("writes what a query returned", function()
      assert.equal("9007199254740992", sequence.text(9007199254740992))
      assert.equal("9007199254740993", sequence.text(kit.cs.json.number "9007199254740993"))
    end)
  end)

  describe("interval", function()
    local interval = kit:module "lib.interval"

    it("closes a month where the next begins", function()
      local time = kit.cs.time
      local function close(text) return time.iso(interval.close_ms("1M", time.parse(text))) end
      assert.equal("2024-03-01T00:00:00.000Z", close "2024-02-01T00:00:00Z")
      assert.equal("2023-03-01T00:00:00.000Z", close "2023-02-01T00:00:00Z")
      assert.equal("2024-01-01T00:00:00.000Z", close "2023-12-01T00:00:00Z")
    end)

    it("knows no other interval than those it names", function()
      assert.is_nil(interval.table_of "3m")
      assert.is_nil(interval.table_of "1H")
      for name in interval.names:gmatch "%w+" do assert.is_string(interval.table_of(name)) end
    end)
  end)
end)
