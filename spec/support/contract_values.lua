-- What becomes of a value on its way into a statement and back: spec/lua runs these cases through
-- the kit, spec/host through the service and PostgreSQL. `cell` is PostgreSQL's text of the result.
local cases = {}

local function comes_back(kind, value, cell, text, is)
  cases[#cases + 1] = {
    sentence = ("%s: %s comes back as %s, a %s"):format(kind, value, text, is),
    kind = kind, value = value, cell = cell, text = ('{"is":"%s","v":%s}'):format(is, text),
  }
end

local function is_refused(kind, value, reason)
  cases[#cases + 1] = {
    sentence = ("%s: %s is refused"):format(kind, value),
    kind = kind, value = value, reason = reason,
  }
end

local function is_nil(kind, value)
  cases[#cases + 1] = {
    sentence = ("%s: %s is NULL, and nil in a result"):format(kind, value),
    kind = kind, value = value, text = '{"is":"nil"}',
  }
end

comes_back("text", "a word", "t\195\164", '"t\195\164"', "string")
is_nil("text", "null")
is_nil("text", "nothing")
is_refused("text", "5", "expected a string, got 5")
is_refused("text", "a zero byte", "expected ")
is_refused("text", "no UTF-8", "expected ")

comes_back("int8", "5", "5", "5", "number")
comes_back("int8", "beyond 2^53", "9007199254740993", "9007199254740993", "other")
comes_back("int8", "beyond 2^53, an object", "9007199254740993", "9007199254740993", "other")
comes_back("int8", "a moment", "1704067200123", "1704067200123", "number")
comes_back("int8", "before 1970", "-1", "-1", "number")
is_nil("int8", "null")
is_refused("int8", "5.5", "expected a whole number, got 5.5")
is_refused("int8", "a word", "expected a whole number, got ")
is_refused("int8", "true", "expected a whole number, got true")

comes_back("int4", "5", "5", "5", "number")
is_nil("int4", "null")

comes_back("float8", "0.1", "0.1", "0.1", "number")
comes_back("float8", "0.10", "0.1", "0.1", "number")
comes_back("float8", "5", "5", "5", "number")
comes_back("nan", "nothing", "NaN", "null", "null")
is_refused("float8", "not a number", "expected a finite number, got ")
is_refused("float8", "a word", "expected a finite number, got ")

comes_back("numeric", "0.10", "0.10", "0.10", "other")
comes_back("numeric", "0.1", "0.1", "0.1", "other")
comes_back("numeric", "beyond 2^53", "9007199254740993", "9007199254740993", "other")
comes_back("numeric_nan", "nothing", "NaN", "null", "null")
is_refused("numeric", "true", "expected a decimal number, got true")

comes_back("bool", "true", "t", "true", "boolean")
is_nil("bool", "null")
is_refused("bool", "the word true", 'expected true or false, got "true"')

comes_back("timestamptz", "a moment", "2024-01-01 00:00:00.123+00",
  '"2024-01-01 00:00:00.123+00"', "string")
comes_back("timestamptz", "before 1970", "1969-12-31 23:59:59.999+00",
  '"1969-12-31 23:59:59.999+00"', "string")
comes_back("timestamptz", "the year 1", "0001-01-01 00:00:00+00", '"0001-01-01 00:00:00+00"',
  "string")
comes_back("timestamptz", "the year 10000", "10000-01-01 00:00:00+00",
  '"10000-01-01 00:00:00+00"', "string")
comes_back("timestamptz", "the last moment", "294276-12-31 00:00:00+00",
  '"294276-12-31 00:00:00+00"', "string")
is_refused("timestamptz", "before the year 1", "expected whole milliseconds since 1970, got ")
is_refused("timestamptz", "after the last moment", "expected whole milliseconds since 1970, got ")
is_nil("timestamptz", "null")
is_refused("timestamptz", "a date", "expected whole milliseconds since 1970, got ")
is_refused("timestamptz", "5.5", "expected whole milliseconds since 1970, got 5.5")

comes_back("jsonb", "a table", '{"a": "x", "b": [1, 2]}', '{"a":"x","b":[1,2]}', "other")
comes_back("jsonb", "JSON", '{"a": [1, null]}', '{"a":[1,null]}', "other")
comes_back("jsonb", "5", "5", "5", "number")
comes_back("jsonb", "true", "true", "true", "boolean")
is_nil("jsonb", "null")
is_refused("jsonb", "a word", "expected JSON, got ")

is_refused("named", "nothing", "there is no $v")
is_refused("too many", "nothing", "there is no $2")

comes_back("text[]", "words", '{a,"b c"}', [["{a,\"b c\"}"]], "string")
comes_back("int[]", "numbers", "{1,2,3}", '"{1,2,3}"', "string")

return cases
