-- What flows, in figures: what Kafka has (as the frontend sees it go by), what PostgreSQL has, and
-- what the service says of itself.
local http = require "spec.support.http"
local wait = require "spec.support.wait"

local figures = {}
local Figures = {}
Figures.__index = Figures

local KNOWN_FIRST = { "BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT" }

-- The symbols that lose messages in turn come first.
figures.known_first = KNOWN_FIRST

function figures.new(database, server)
  local self = setmetatable({
    database = database, server = server, began = wait.now(), by_name = {}, symbols = {},
    gaps_made = 0, gaps_healed = 0, rejected = 0,
  }, Figures)
  for _, name in ipairs(KNOWN_FIRST) do
    self:symbol(name)
  end
  return self
end

local function rank(symbol)
  for i, name in ipairs(KNOWN_FIRST) do
    if name == symbol.name then
      return ("%02d"):format(i)
    end
  end
  return symbol.name
end

function Figures:symbol(name)
  local symbol = self.by_name[name]
  if not symbol then
    symbol = {
      name = name, seen = 0, seen_before = 0, produced = 0, sequence = 0, rows = 0, rate = 0,
      newest = "1970-01-01Z", made = 0, healed = 0,
    }
    self.by_name[name] = symbol
    self.symbols[#self.symbols + 1] = symbol
    table.sort(self.symbols, function(a, b) return rank(a) < rank(b) end)
  end
  return symbol
end

-- A message went by in Kafka.
function Figures:see(key, value)
  local symbol = self:symbol(key:match "^[^_]+")
  symbol.seen = symbol.seen + 1
  symbol.produced = tonumber(value:match '"seq":(%d+)') or symbol.produced
end

function Figures:made_gap(name)
  self.gaps_made = self.gaps_made + 1
  self:symbol(name).made = self:symbol(name).made + 1
end

function Figures:healed_gap(name)
  self.gaps_healed = self.gaps_healed + 1
  self:symbol(name).healed = self:symbol(name).healed + 1
end

function Figures:count_seen()
  local total = 0
  for _, symbol in ipairs(self.symbols) do
    total = total + symbol.seen
  end
  return total
end

-- Rows are counted on from where they were counted last: the table only grows at its end.
local function read_rows(self)
  local known = {}
  for i, symbol in ipairs(self.symbols) do
    known[i] = ("('%s', '%s'::timestamptz)"):format(symbol.name, symbol.newest)
  end
  for _, row in ipairs(self.database:rows([[
    SELECT known.symbol, count(*) FILTER (WHERE time > since) AS more, max(time) AS newest,
      max(sequence) AS sequence
    FROM (VALUES ]] .. table.concat(known, ",") .. [[) AS known (symbol, since)
    JOIN market_klines ON market_klines.symbol = known.symbol AND time >= since
    GROUP BY 1]])) do
    local symbol = self.by_name[row.symbol]
    symbol.rows = symbol.rows + tonumber(row.more)
    symbol.newest = row.newest
    symbol.sequence = tonumber(row.sequence) or symbol.sequence
  end
end

local function sum(text, name)
  local total = 0
  for value in text:gmatch("\n" .. name .. "{[^\n]*} (%d+)") do
    total = total + tonumber(value)
  end
  return total
end

local function read_service(self)
  local metrics = assert(http.get(self.server.admin_port, "/metrics")).body
  self.rejected = sum(metrics, "core_service_ingest_rejected_total")
  self.rules = assert(http.get(self.server.admin_port, "/admin/rules")).json
end

-- Reads everything anew; rates are since the last time.
function Figures:refresh()
  local now = wait.now()
  local seconds = now - (self.read_at or self.began)
  read_rows(self)
  read_service(self)
  self.rate, self.rows, self.lag = 0, 0, 0
  for _, symbol in ipairs(self.symbols) do
    symbol.rate = (symbol.seen - symbol.seen_before) / seconds
    symbol.seen_before = symbol.seen
    symbol.lag = math.max(0, symbol.produced - symbol.sequence)
    self.rate = self.rate + symbol.rate
    self.rows = self.rows + symbol.rows
    self.lag = self.lag + symbol.lag
  end
  self.read_at = now
end

return figures
