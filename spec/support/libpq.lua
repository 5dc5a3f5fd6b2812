-- PostgreSQL's client library, as little of it as specs need: statements in, text out.
local ffi = require "ffi"

ffi.cdef [[
typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;
PGconn *PQconnectdb(const char *conninfo);
int PQstatus(const PGconn *conn);
char *PQerrorMessage(const PGconn *conn);
void PQfinish(PGconn *conn);
PGresult *PQexec(PGconn *conn, const char *query);
int PQresultStatus(const PGresult *res);
char *PQresultErrorMessage(const PGresult *res);
int PQntuples(const PGresult *res);
int PQnfields(const PGresult *res);
char *PQfname(const PGresult *res, int field);
char *PQgetvalue(const PGresult *res, int row, int field);
int PQgetlength(const PGresult *res, int row, int field);
int PQgetisnull(const PGresult *res, int row, int field);
void PQclear(PGresult *res);
]]

local pq = ffi.load "libpq.so.5"
local CONNECTION_OK, COMMAND_OK, TUPLES_OK = 0, 1, 2

local libpq = {}
local Connection = {}
Connection.__index = Connection

-- nil, reason when it cannot connect.
function libpq.connect(url)
  local conn = ffi.gc(pq.PQconnectdb(url), pq.PQfinish)
  if pq.PQstatus(conn) ~= CONNECTION_OK then
    return nil, ffi.string(pq.PQerrorMessage(conn))
  end
  return setmetatable({ conn = conn }, Connection)
end

function Connection:is_alive()
  return pq.PQstatus(self.conn) == CONNECTION_OK
end

function Connection:close()
  pq.PQfinish(ffi.gc(self.conn, nil))
  self.conn = nil
end

local function rows_of(result)
  local rows, names = {}, {}
  for field = 0, pq.PQnfields(result) - 1 do
    names[field] = ffi.string(pq.PQfname(result, field))
  end
  for i = 0, pq.PQntuples(result) - 1 do
    local row = {}
    for field, name in pairs(names) do
      if pq.PQgetisnull(result, i, field) == 0 then
        row[name] = ffi.string(pq.PQgetvalue(result, i, field), pq.PQgetlength(result, i, field))
      end
    end
    rows[i + 1] = row
  end
  return rows
end

-- Runs one or more statements: the rows of the last, { column = text }, NULL is nil. nil, reason
-- when one fails.
function Connection:rows(sql)
  local result = ffi.gc(pq.PQexec(self.conn, sql), pq.PQclear)
  local status = pq.PQresultStatus(result)
  if status ~= COMMAND_OK and status ~= TUPLES_OK then
    return nil, ffi.string(pq.PQresultErrorMessage(result))
  end
  return rows_of(result)
end

return libpq
