-- SIGINT, SIGTERM and SIGHUP as a question instead of a handler: a handler in Lua may run in the
-- middle of any call. The signals are blocked and looked for when it suits.
local ffi = require "ffi"

ffi.cdef [[
typedef struct { unsigned long bits[16]; } cs_sigset_t;
struct cs_timespec { long tv_sec; long tv_nsec; };
int sigemptyset(cs_sigset_t *);
int sigaddset(cs_sigset_t *, int);
int sigprocmask(int how, const cs_sigset_t *, cs_sigset_t *);
int sigtimedwait(const cs_sigset_t *, void *, const struct cs_timespec *);
]]

local interrupt = {}
local BLOCK, UNBLOCK = 0, 1
local SIGHUP, SIGINT, SIGTERM = 1, 2, 15

local set = ffi.new "cs_sigset_t"
ffi.C.sigemptyset(set)
for _, number in ipairs { SIGHUP, SIGINT, SIGTERM } do
  ffi.C.sigaddset(set, number)
end
local at_once = ffi.new "struct cs_timespec"
local seen = false

-- From now on; before any thread starts, since threads inherit it.
function interrupt.watch()
  ffi.C.sigprocmask(BLOCK, set, nil)
end

-- In a child, which must take signals as usual.
function interrupt.unwatch()
  ffi.C.sigprocmask(UNBLOCK, set, nil)
end

-- Whether one of them came.
function interrupt.seen()
  seen = seen or ffi.C.sigtimedwait(set, nil, at_once) > 0
  return seen
end

return interrupt
