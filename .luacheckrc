std = "luajit"
max_line_length = 100
cache = false
files["lua/**/*.lua"] = { read_globals = { "cs" } }
files["bench/road.lua"] = { read_globals = { "cs" } }
files["spec/fixtures/**/*.lua"] = { read_globals = { "cs" } }
files["spec/**/*_spec.lua"] = { std = "+busted" }
