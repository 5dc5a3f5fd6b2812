-- What rules can rely on, as cases: a message to a stream of spec/fixtures/contract, and what has
-- to come of it. The kit and the service both run them.
--   rows    of the table `out`, without id when it is 1
--   skip    the reason
--   reject  a pattern that the reason fits, and the stage
local cases = {}

local function case(stream, sentence, message, expected)
  cases[#cases + 1] = {
    stream = stream, sentence = sentence, message = message, expected = expected,
  }
end

-- ---- fields ----

local function reads(sentence, message, row)
  case("Types", sentence, message, { rows = { row } })
end
local function refuses(sentence, message, reason)
  case("Types", sentence, message, { reject = reason, stage = "decode" })
end

reads("reads text", '{"text":"a\\u00e4\\n\\u20ac"}',
  { text = "a\195\164\n\226\130\172", note = "text string" })
reads("reads a whole number", '{"int8":5}', { int8 = 5, note = "int8 number" })
reads("reads a whole number from a string", '{"int8":"-5"}', { int8 = -5, note = "int8 number" })
reads("reads 2^53 as a number", '{"int8":9007199254740992}',
  { int8 = "9007199254740992", note = "int8 number" })
reads("reads 2^53 + 1 as text", '{"int8":9007199254740993}',
  { int8 = "9007199254740993", note = "int8 string" })
reads("reads the greatest int8", '{"int8":9223372036854775807}',
  { int8 = "9223372036854775807", note = "int8 string" })
reads("reads the least int8", '{"int8":-9223372036854775808}',
  { int8 = "-9223372036854775808", note = "int8 string" })
reads("reads a double", '{"float8":0.1}', { float8 = 0.1, note = "float8 number" })
reads("reads a double from a string", '{"float8":"50000.00000000"}',
  { float8 = 50000, note = "float8 number" })
reads("reads a double with an exponent", '{"float8":1.5e3}',
  { float8 = 1500, note = "float8 number" })
reads("reads a decimal number as its text", '{"numeric":0.10000000000000000000001}',
  { numeric = "0.10000000000000000000001", note = "numeric string" })
reads("reads true", '{"bool":true}', { bool = true, note = "bool boolean" })
reads("reads false", '{"bool":false}', { bool = false, note = "bool boolean" })
reads("reads milliseconds", '{"ms":1704067200000}',
  { time = 1704067200000, note = "ms number" })
reads("reads milliseconds from a string", '{"ms":"1704067200000"}',
  { time = 1704067200000, note = "ms number" })
reads("reads any value as JSON text", '{"json": {"a": [1.50, null]} }',
  { json = '{"a":[1.50,null]}', note = "json string" })
reads("takes null for an absent field", '{"text":null,"int8":null,"bool":null}', { note = "" })
reads("takes the last of equal keys", '{"int8":1,"int8":2}', { int8 = 2, note = "int8 number" })

refuses("refuses a number for text", '{"text":5}', "^text: expected text, found 5 %(byte 8%)$")
refuses("refuses text with a zero byte", '{"text":"a\\u0000b"}', "^text: expected text, found ")
refuses("refuses a fraction for a whole number", '{"int8":5.0}',
  "^int8: expected int8, found 5%.0 %(byte 8%)$")
refuses("refuses an exponent for a whole number", '{"int8":1e3}',
  "^int8: expected int8, found 1e3 ")
refuses("refuses 2^63", '{"int8":9223372036854775808}', "^int8: expected int8, found 92")
refuses("refuses words for a number", '{"float8":"abc"}',
  '^float8: expected float8, found "abc" %(byte 10%)$')
refuses("refuses NaN in a string", '{"float8":"NaN"}', '^float8: expected float8, found "NaN" ')
refuses("refuses hex in a string", '{"float8":"0x10"}', '^float8: expected float8, found "0x10" ')
refuses("refuses a plus sign", '{"float8":"+1"}', '^float8: expected float8, found "%+1" ')
refuses("refuses a double beyond all doubles", '{"float8":1e999}', "^float8: expected float8, ")
refuses("refuses an object for a number", '{"float8":{}}',
  "^float8: expected float8, found an object %(byte 10%)$")
refuses("refuses a number for a boolean", '{"bool":1}', "^bool: expected bool, found 1 ")
refuses("refuses a date for milliseconds", '{"ms":"2024-01-01"}', "^ms: expected ms, found ")
refuses("refuses NaN as JSON", '{"float8":NaN}', "^not JSON")
refuses("refuses a leading zero", '{"int8":05}', "^not JSON")
refuses("refuses half a message", '{"int8":5', "^not JSON")
refuses("refuses a message with something behind it", '{"int8":5} x', "^not JSON")
refuses("refuses what is not UTF-8", '{"text":"\255"}', "^not JSON")

-- ---- shapes ----

case("Shapes", "takes the first shape that fits", '{"id":1,"deep":{"er":{"id":2}}}',
  { rows = { { id = 2, note = "shape 1" } } })
case("Shapes", "takes the next shape when a required field is missing", '{"id":1,"deep":{}}',
  { rows = { { note = "shape 2" } } })
case("Shapes", "takes the next shape when a required field is null",
  '{"id":1,"deep":{"er":{"id":null}}}', { rows = { { note = "shape 2" } } })
case("Shapes", "takes the first path that is there",
  '{"deep":{"er":{"id":1},"text":"near"},"text":"far"}',
  { rows = { { text = "near", note = "shape 1" } } })
case("Shapes", "takes the next path when the first is not there",
  '{"deep":{"er":{"id":1},"text":null},"text":"far"}',
  { rows = { { text = "far", note = "shape 1" } } })
case("Shapes", "says what each shape lacks", '{"deep":{"id":1}}',
  { reject = "^no shape fits: 1 lacks deep%.er%.id, 2 lacks id$", stage = "decode" })
case("Shapes", "finds no shape in an array", "[1]",
  { reject = "^no shape fits: ", stage = "decode" })
case("Shapes", "does not fall back to another shape for a wrong type",
  '{"id":1,"deep":{"er":{"id":"x"}}}',
  { reject = '^deep%.er%.id: expected int8, found "x" ', stage = "decode" })

case("Whole", "hands a message without fields over whole", '{"b":[1,{"c":null}],"a":"x"}',
  { rows = { { note = '{"a":"x","b":[1,{"c":null}]}' } } })
case("Whole", "refuses what is no JSON without fields too", "{", {
  reject = "^not JSON", stage = "decode",
})

-- ---- probes ----

local function probe(name, expected)
  case("Probes", name, ('{"probe":"%s"}'):format(name), expected)
end
local function stores(name, row) probe(name, { rows = { row } }) end
local function says(name, text) probe(name, { rows = { { note = text } } }) end
local function breaks(name, reason) probe(name, { reject = reason, stage = "map" }) end
local function misfits(name, reason) probe(name, { reject = reason, stage = "row" }) end

probe("skip", { skip = "not for us" })
probe("skip without a reason", { skip = "no reason given" })
breaks("reject", "^not a candle$")
breaks("reject without a reason", "^rejected without a reason$")
probe("skip with an empty reason", { skip = "no reason given" })
breaks("reject with an empty reason", "^rejected without a reason$")
breaks("nothing", '^map returned neither rows nor nil, "skip" or "reject", reason$')
breaks("an unknown verdict", "^map returned neither rows nor ")
breaks("a string", "^map returned neither rows nor ")
breaks("error", "broken")
breaks("a mistake", "streams/probes%.lua:%d+: attempt to index field 'missing'")
breaks("a global", "global 'undeclared' is assigned: write `local undeclared`")
breaks("a module's table", "the table is read%-only: field 'out'")
breaks("the library", "the table is read%-only: field 'len'")
breaks("a late require",
  "require 'lib%.late': modules are loaded when the file is loaded, not later")
misfits("no tables", "^map returned no rows")
misfits("no rows", "^map returned no rows")
probe("two rows", { rows = { {}, { id = 2 } } })
misfits("rows with a hole", "^out: a list of rows has holes or other keys$")
misfits("rows and a column", "^out: a list of rows has holes or other keys$")
misfits("an unknown table", "^elsewhere: the stream has no such table$")
misfits("an unknown column", "^out%.colour: there is no such column$")
misfits("a missing column", "^out%.id: missing")
misfits("a number for a row", "^out: expected a row or an array of rows, got a number$")
stores("NULL", {})
probe("NULL for a column that must be there", { rows = { { id = "NULL" } } })

misfits("text from a number", "^out%.text: expected a string, got 5$")
misfits("text with a zero byte", "^out%.text: expected ")
misfits("text that is not UTF-8", "^out%.text: expected ")
stores("int8 from a number", { int8 = 5 })
stores("int8 from 2^53", { int8 = "9007199254740992" })
stores("int8 from a decimal string", { int8 = "9223372036854775807" })
stores("int8 from a number object", { int8 = "9007199254740993" })
misfits("int8 from a fraction", "^out%.int8: expected a whole number, got 1%.5$")
misfits("int8 from a double beyond 2^53", "^out%.int8: expected a whole number, got 1e%+17$")
misfits("int8 from a string too large", '^out%.int8: expected a whole number, got "92')
misfits("int8 from words", '^out%.int8: expected a whole number, got "five"$')
stores("float8 from a number", { float8 = 0.1 })
stores("float8 from a decimal string", { float8 = 0.1 })
misfits("float8 from NaN", "^out%.float8: expected a finite number, got %-?nan$")
misfits("float8 from infinity", "^out%.float8: expected a finite number, got inf$")
misfits("float8 from hex", '^out%.float8: expected a finite number, got "0x10"$')
misfits("float8 from a boolean", "^out%.float8: expected a finite number, got true$")
stores("numeric from a number", { numeric = "0.1" })
stores("numeric from a decimal string", { numeric = "0.10000000000000000000001" })
misfits("numeric from words", '^out%.numeric: expected a decimal number, got "NaN"$')
stores("bool from true", { bool = true })
stores("bool from false", { bool = false })
misfits("bool from a string", '^out%.bool: expected true or false, got "true"$')
stores("time from milliseconds", { time = 1704067200123 })
stores("time from a decimal string", { time = 1704067200123 })
misfits("time from a fraction", "^out%.time: expected whole milliseconds since 1970, got 0%.5$")
misfits("time from an ISO date", "^out%.time: expected whole milliseconds since 1970, got ")
stores("json from text", { json = '{"a":[1,2]}' })
stores("json from a table", { json = '{"a":[1,2]}' })
misfits("json from text that is none", "^out%.json: expected JSON, got ")
misfits("json from a function", "^out%.json: expected JSON, got a function$")

says("encode an empty table", "{}")
says("encode an empty array", "[]")
says("encode a list", "[1,2,3]")
says("encode an object", '{"a":[true,false,null],"b":1}')
says("encode a string", '"a\\"\\\\/\\n\\t\\u0001\195\164"')
says("encode numbers",
  "[0.1,1e+21,-0.5,100,1704067200000,9007199254740992,0.3333333333333333,null,null]")
breaks("encode mixed keys", "json: a table has numbers as keys, but not 1 to n")
breaks("encode a gap", "json: a table has numbers as keys, but not 1 to n")
breaks("encode a function", "json: a function has no JSON")
breaks("encode itself", "json: nested deeper than")
says("decode", '{"a":[1,null,"x"]}')
says("decode what is no JSON", "nil string")
says("decode NaN", "nil")
says("decode hex", "nil")
says("decode what is not UTF-8", "nil string")
says("decode a control character", "nil string")
says("decode half a surrogate pair", "nil string")
says("decode too deep", "nil string")
says("decode as deep as it goes", "table nil")
says("number that is exact", "number")
says("number 2^53", "number")
says("number 2^53 + 1", "false 9007199254740993 [9007199254740993]")
says("number with a trailing zero", "[0.10]")
says("numbers that are equal", "true true")
says("numbers in order", "true false true true")
breaks("number from words", "a decimal number expected")

says("raw", '[{"b": [], "a":1.50},12345678901234567890]')
breaks("raw that is no JSON", "json: ")
breaks("raw from a table", "json: expected JSON text, got a table")
stores("json from raw", { json = '{"a":[1,2]}' })

says("iso", "2024-01-01T00:00:00.123Z")
says("iso before 1970", "1969-12-31T23:59:59.999Z")
says("parse", "[1704067200000,1704067200123,1704060000000,1709210096000,1704067200000,"
  .. "1704067200000,1704067200500,1704072600000,1704063600000]")
says("parse what is no time", "none")
says("months", "2024-02-29T12:00:00.000Z 2023-11-30T12:00:00.000Z 2025-02-28T12:00:00.000Z")
says("env", "news")
breaks("env that is not allowed", "cs%.env: PATH may not be read")
says("what is not offered", "")
says("patterns", "BTCUSDT a+b+c v=k")
says("pairs of a frozen table", "9 1")
says("a class", "7")

return cases
