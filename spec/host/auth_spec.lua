local process = require "spec.support.process"
local service = require "spec.support.service"

local RSA = [[
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2rvrrzCSmwJjHXq+GkIX
CB2ePr/jquexCfcsiOOpLcCwRcMWYNFkPlCmCuMm+TwnlOIBzwbOfBpyBqWimZ3o
nJV6TISZWp6/AeDdOLej8PLf5RAO0xW7Lnyhdrnt7HiJP26LkBuoRTv++eop5ORJ
xuUSaAr5ksOU9cMSFerVU8flxgn/tCeJQfwQ/uRjd5XqR3/NLSZgGyjuIELY32UH
BbXrZg22IEAsnDGLaUrrLf2rYm0pdRLb76mFCuABZ1zWG0GecHA8C6Ts8mSEI6NR
KFvjavHfSTaK2suZ8Rn5pByRRrcICWI6gj9C8M1mXDLPX5wY3rhngazABxhyFrkI
HQIDAQAB
-----END PUBLIC KEY-----
]]
local EC = [[
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzyJhalD1NIvgI9L5CArwxVcV7IyE
02RUlpjw3Xjgp+ub1YX9+wDuU8r802Qz07skWh7WsLVkut9Ne1ud3+IM3Q==
-----END PUBLIC KEY-----
]]

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function start(env)
  env.INGEST_WORKERS = "0"
  env.DATABASE_URL = "postgresql://nobody@127.0.0.1:1/none"
  local running = service.start { env = env, wait = "alive" }
  finally(function() running:kill() end)
  return running
end

describe("authentication and rate limits", function()
  it("are off and said to be when nothing is set", function()
    local running = start {}
    running:wait_for_log "authentication is off"
    running:wait_for_log "the rate limit is off"
    assert.is_not.equal(401, running:get("/api/v1/klines/missed").status)
  end)

  it("ask for a token once there is a key, but not for /health", function()
    local running = start { JWT_SECRET = "a secret of more than thirty-two bytes" }
    local answer = running:get "/api/v1/klines/missed"
    assert.are.equal(401, answer.status)
    assert.are.equal('Bearer realm="core-service"', answer.headers["www-authenticate"])
    assert.are.equal(200, running:get("/health").status)
    assert.is_nil(running:text():find("thirty-two bytes", 1, true))
  end)

  it("read the key file again on SIGHUP and on a reload by the admin listener", function()
    local path = process.directory() .. "/keys"
    write(path, RSA)
    local running = start { JWT_PUBLIC_KEY_FILE = path }
    running:wait_for_log "requests need a token: RS256"
    write(path, EC)
    running.process:signal "HUP"
    running:wait_for_log "requests need a token: ES256"
    write(path, "nonsense")
    local answer = assert(running:admin("/admin/rules/reload", { method = "POST" }))
    assert.is_truthy(answer.json.trouble:find(path, 1, true), answer.body)
    running:wait_for_log "tokens are still verified with the keys read before"
  end)

  for name, value in pairs {
    TRUSTED_PROXIES = "10.0.0.0/8, 10.0.0.0/33",
    JWT_PUBLIC_KEY_FILE = "/nonexistent/keys",
  } do
    it("end the start with 2 over a " .. name .. " that cannot be meant", function()
      local code, output = service.run({}, {
        PORT = "0", ADMIN_PORT = "0", INGEST_WORKERS = "0", [name] = value,
      })
      assert.are.equal(2, code)
      assert.is_truthy(output:find(value:match "[^ ]+$", 1, true))
    end)
  end
end)
