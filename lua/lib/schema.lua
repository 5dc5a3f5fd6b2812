-- Pieces of JSON Schema for what answers say of themselves.
local schema = {}

schema.text = { type = "string" }
schema.boolean = { type = "boolean" }
schema.time = { type = "integer", description = "Milliseconds since 1970, UTC" }
schema.sequence = { type = "integer", minimum = 0, maximum = cs.json.number "9223372036854775807" }

-- The same, or null.
function schema.nullable(what)
  local copy = {}
  for key, value in pairs(what) do copy[key] = value end
  copy.type = { what.type, "null" }
  return copy
end

schema.number = schema.nullable { type = "number" } -- a column without a value is null

-- An object with these fields, always all of them, and no others.
function schema.object(fields)
  local names = {}
  for name in pairs(fields) do names[#names + 1] = name end
  table.sort(names)
  return {
    type = "object", properties = fields, required = names, additionalProperties = false,
  }
end

function schema.list(items)
  return { type = "array", items = items }
end

-- A page of `items` under `data`, with what else the answer has.
function schema.page(items, fields)
  local all = {
    count = { type = "integer", minimum = 0, description = "How many are in data" },
    data = schema.list(items),
    hasMore = schema.boolean,
  }
  for name, field in pairs(fields) do all[name] = field end
  return schema.object(all)
end

return schema
