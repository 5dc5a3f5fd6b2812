local contract = require "spec.support.contract"
local verify = require "spec.support.contract_check"
local rules = require "spec.support.rules"

describe("the contract of rules, kept by the kit:", function()
  local kit = rules.open { dir = "spec/fixtures/contract" }

  for _, case in ipairs(contract) do
    it(case.stream .. ": " .. case.sentence, function()
      local stream = kit:stream("streams." .. case.stream:lower())
      verify(stream, case, stream:map(case.message))
    end)
  end
end)
