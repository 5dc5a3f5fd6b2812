-- Edits that may not get into force: what is changed, and what has to be said of it. `line` of the
-- fixture's file is replaced by `by`; without `line`, `by` is put in front; `cut` ends the file
-- there, as a half-written one is.
return {
  {
    name = "a syntax error",
    file = "streams/marks.lua", line = "  map = function(message)", by = "  map = function(message",
    says = "streams/marks.lua:17: ",
  },
  {
    name = "a half-written file",
    file = "endpoints/marks.lua", cut = "  reply = function",
    says = "endpoints/marks.lua:18: ",
  },
  {
    name = "an error while loading",
    file = "lib/mark.lua", line = "local MARK", by = "local MARK = nothing.here",
    says = "lib/mark.lua:1: ",
  },
  {
    name = "an endless loop while loading",
    file = "lib/mark.lua", by = "pcall(function() while true do end end)\n",
    says = "lib/mark.lua:1: stopped after 300 ms of CPU time",
  },
  {
    name = "a module that is not there",
    file = "init.lua", line = "  endpoints", by = '  endpoints = { require "endpoints.gone" },',
    says = "init.lua:5: ",
  },
  {
    name = "an example that comes out otherwise",
    file = "lib/mark.lua", line = "return", by = "return { number = MARK + 0.5 }",
    says = "streams/marks.lua: examples[1]: ",
  },
  {
    name = "a column that is not in the table",
    file = "streams/marks.lua", line = "      columns",
    by = '      columns = { id = "int8", of_module = "int8", of_file = "int8", colour = "text?" },',
    says = "streams/marks.lua: column marks.colour (text) is missing",
  },
  {
    name = "a table that is not there",
    file = "streams/marks.lua",
    by = [[
      local def = { name = "MarkConsumer", topic = cs.env "SOAK_TOPIC" }
      def.tables = { gone = { columns = { id = "int8" }, key = { "id" } } }
      def.map = function() return nil, "skip" end
      if def then return def end
]],
    says = "streams/marks.lua: table gone is missing",
  },
  {
    name = "an endpoint without a path",
    file = "endpoints/marks.lua", line = "  paths", by = "  paths = {},",
    says = "endpoints/marks.lua: paths",
  },
}
