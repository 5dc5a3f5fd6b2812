-- Single blows to what the service stands on.
local postgres = require "spec.support.postgres"
local proxy = require "spec.support.proxy"
local wait = require "spec.support.wait"

local strike = {}

function strike.sessions(s)
  s.database:exec [[
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND datname = current_database()]]
end

function strike.postgres(s)
  local cluster = s.database.cluster
  s.database:close() -- or these would be found dead when they are used next
  cluster:admin():close()
  if math.random(2) == 1 then
    cluster:kill()
  else
    cluster:stop "QUIT"
  end
  wait.pause(math.random() * 0.5)
  cluster:start()
end

function strike.broker(s)
  s.broker:kill()
  wait.pause(math.random())
  s.broker:start()
end

-- Options of a site whose services reach PostgreSQL through a proxy.
function strike.through_proxy()
  local cluster = postgres.shared()
  local between = proxy.start(cluster.port)
  return { between = between, through = function(url)
    return (url:gsub(":" .. cluster.port .. "/", ":" .. between.port .. "/"))
  end }
end

function strike.network(s)
  local between = s.between
  local what = math.random(6)
  if what == 1 then
    between:tell "cut"
  elseif what == 2 then
    between:tell "reset"
  elseif what == 3 then
    between:tell("delay " .. math.random(5, 100))
    wait.pause(0.5)
  elseif what == 4 then
    between:tell("cut_after " .. math.random(200000))
    wait.pause(0.2)
  elseif what == 5 then
    between:tell "refuse"
    between:tell "reset"
    wait.pause(math.random())
  else
    between:tell "silence"
    wait.pause(math.random() * 2)
    between:tell "reset"
  end
  between:tell "pass"
end

return strike
