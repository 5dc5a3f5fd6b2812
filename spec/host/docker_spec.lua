-- No engine is needed for these: that the image is built of what the sources need. What the files
-- in docker/ were tried with is said in docs/OPERATIONS.md.
local process = require "spec.support.process"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local DOCKERFILE = read("docker/Dockerfile"):gsub("\\\n", " ")

local function words(text)
  local all = {}
  for word in text:gmatch "%S+" do
    all[#all + 1] = word
  end
  table.sort(all)
  return all
end

-- What the stage that builds copies out of the repository.
local function copied()
  local paths = {}
  local stage = DOCKERFILE:match "AS build\n(.-)\nFROM "
  for arguments in stage:gmatch "\nCOPY ([^\n]+)" do
    local list = words(arguments:match "^(.-)%s+%S+$")
    for _, path in ipairs(list) do
      paths[#paths + 1] = path
    end
  end
  return paths
end

describe("docker/Dockerfile", function()
  it("builds with the packages that scripts/setup installs, but for the specs'", function()
    local wanted = read("scripts/setup"):match '%[build%]="([^"]+)"'
    local installed = DOCKERFILE:match "AS build\n.-%-%-no%-install%-recommends%s+([^&]+)&&"
    assert.same(words((wanted:gsub("libcmocka%-dev", ""))), words(installed))
  end)

  it("copies all that is compiled and installed, past .dockerignore", function()
    local directory = process.directory()
    local ignored = read ".dockerignore"
    for _, path in ipairs(copied()) do
      assert.is_truthy(("\n" .. ignored):find("\n!" .. path .. "\n", 1, true), path)
      assert.equal(0, os.execute(("cp -r --parents %s %s"):format(path, directory)))
    end
    local code, output = process.run {
      argv = { "cmake", "-B", directory .. "/build", "-S", directory, "-G", "Ninja",
        "-DBUILD_TESTING=OFF" },
      seconds = 60,
    }
    assert.equal(0, code, output)
    for path in read("packaging/install.cmake"):gmatch "%f[%w/]d%l+/[%w_/.]+%.%l+" do
      assert.is_truthy(io.open(directory .. "/" .. path), path .. " is installed, but not copied")
    end
  end)

  it("runs as a user without rights, with a health check and rules of one's own", function()
    local last = DOCKERFILE:match ".*\nFROM (.*)$"
    assert.is_truthy(last:find("\nUSER 10001\n", 1, true))
    assert.is_truthy(last:find('CMD ["core-service", "health"]', 1, true))
    assert.is_truthy(last:find("\nVOLUME /etc/core-service/lua\n", 1, true))
    assert.is_truthy(last:find("\nENV LUA_DIR=/etc/core-service/lua\n", 1, true))
  end)
end)
