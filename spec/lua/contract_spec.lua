local contract = require "spec.support.contract"
local contract_values = require "spec.support.contract_values"
local convert = require "spec.support.rules.convert"
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

describe("what becomes of values in statements, as the kit has it:", function()
  local endpoint = rules.open({ dir = "spec/fixtures/values" }):endpoint "endpoints.values"
  local RESULT_KIND = { nan = "float8", numeric_nan = "numeric" }

  for _, case in ipairs(contract_values) do
    it(case.sentence, function()
      local fine, answer = pcall(endpoint.call, endpoint, {
        params = { kind = case.kind }, query = { value = case.value },
        results = function()
          return { { v = convert.cell(RESULT_KIND[case.kind] or case.kind, case.cell) } }
        end,
      })
      if case.reason then
        assert.is_false(fine)
        assert.is_truthy(tostring(answer):find(case.reason, 1, true), answer)
      else
        assert.is_true(fine, answer)
        assert.equal(case.text, answer.text)
      end
    end)
  end
end)
