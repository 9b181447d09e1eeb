/**
 * A web server that watches sensors: it learns what is normal, then scores every reading as it comes,
 * and shows score and threshold in a page. Sensors of your own send their readings by HTTP:
 * `curl -d '{"temperature": 60.2, "vibration": 1.1, "current": 9.8}' http://127.0.0.1:8080/readings`
 */

import { once } from 'node:events'
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { data, models } from 'fused-rnn'
import { count, fail, options, orFail, port, randomNumbers, untilInterrupted } from './common.js'

/** Readings that a viewer who comes later still gets. */
const KEPT = 300
/** Bytes of a reading that is sent, and of what waits for a viewer who does not read. */
const LARGEST = 64 * 1024

const given = options<{ port: number; every: number; viewers: number; out: string }>(
  'A web server that watches sensors, and tells when they are not as usual. Ctrl-C ends it.',
  { epochs: 30, corpus: 'a CSV file of normal readings; else they are made up' },
  (command) =>
    command
      .option('--port <number>', 'where to listen; 0: where there is room', port, 8080)
      .option('--every <ms>', 'how often the made-up sensors are read', count, 200)
      .option('--viewers <number>', 'how many can watch at a time', count, 100)
      .option('--out <folder>', 'for the model and alarms.csv', 'sensor-anomalies'),
)
const next = randomNumbers(given.seed)

// ---- The sensors of a made-up pump -----------------------------------------------------------------

let faultyFor = 0

/** Load goes up and down; heat, vibration and current follow it, unless there is a fault. */
function readPump(at: number): Record<string, number> {
  const noise = (): number => next() + next() - 1
  const load = Math.sin(at / 9) + 0.3 * Math.sin(at / 31)
  const fault = faultyFor-- > 0
  return {
    temperature: 60 + 8 * Math.sin(at / 9 - 0.4) + noise(),
    vibration: (fault ? 3 : 1) + 0.3 * load + 0.1 * noise(),
    current: 10 + (fault ? -2 : 2) * load + 0.2 * noise(),
  }
}

function madeUp(): data.Series {
  const rows = Array.from({ length: 1200 }, (_, at) => readPump(at))
  const column = (name: string) => rows.map((row) => row[name] as number)
  return new data.Series(
    Object.fromEntries(Object.keys(rows[0] as object).map((name) => [name, column(name)])),
  )
}

/** Normal readings, looked at before anything is learnt from them. */
async function load(path: string): Promise<data.Series> {
  const [series, ...more] = (await orFail(data.loadCSV(path))) as [data.Series, ...data.Series[]]
  if (more.length > 0) fail(`${path}: expected one series`)
  return series
}

const normal = given.data === undefined ? madeUp() : await load(given.data)
for (const name of normal.columns) {
  const values = [...normal.column(name)].filter((x) => !Number.isNaN(x))
  console.log(
    `${name}: ${values.length} of ${normal.length} rows, ${Math.min(...values).toPrecision(4)} to ${Math.max(...values).toPrecision(4)}`,
  )
  if (values.length < normal.length / 2) fail(`column '${name}': most of it is missing`)
}
if (normal.length < 200) fail(`${normal.length} readings are too few: at least 200`)
await orFail(mkdir(given.out, { recursive: true }))

const signal = untilInterrupted()
const model = new models.AnomalyDetector()
const { stopped } = await orFail(
  model.fit(normal, { seed: given.seed, maxEpochs: given.epochs, signal }),
)
if (stopped === 'aborted') process.exit(0)
await model.save(join(given.out, 'model'))
const alarms = join(given.out, 'alarms.csv')
await writeFile(alarms, 'time,score,column\n')
const threshold = model.state?.threshold as number
console.log(`threshold ${threshold.toPrecision(3)}; model and alarms.csv are in ${given.out}`)

// ---- Scores, as server-sent events -----------------------------------------------------------------

const stream = model.stream()
/** The last ones, for those who come later. */
const events: string[] = []
const viewers = new Set<ServerResponse>()
let readings = 0

/** Scores a reading, tells all viewers, and writes down what is an alarm. */
async function take(reading: Record<string, number>): Promise<object> {
  const { score, anomaly, byColumn } = await stream.push(reading)
  const [column] = Object.entries(byColumn).reduce((a, b) => (b[1] > a[1] ? b : a))
  const event = { reading: readings++, score, threshold, anomaly, column }
  const line = `data: ${JSON.stringify(event)}\n\n`
  events.push(line)
  if (events.length > KEPT) events.shift()
  // One who does not read must not fill the memory.
  for (const viewer of viewers)
    if (viewer.writableLength > LARGEST) viewer.destroy()
    else viewer.write(line)
  if (anomaly) await appendFile(alarms, `${new Date().toISOString()},${score},${column}\n`)
  return event
}

function watch(response: ServerResponse): void {
  if (viewers.size >= given.viewers) {
    response.writeHead(503, { 'retry-after': '10' }).end('there are too many viewers')
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write(events.join(''))
  viewers.add(response)
  response.on('close', () => viewers.delete(response))
}

/** What was sent, as JSON. */
async function body(request: IncomingMessage): Promise<Record<string, number>> {
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > LARGEST) throw new RangeError('a reading is one short object')
  }
  return JSON.parse(text)
}

// ---- The server ------------------------------------------------------------------------------------

const page = await readFile(new URL('../examples/sensor-anomalies.html', import.meta.url))
const server = createServer(async (request, response) => {
  const { method, url } = request
  try {
    if (method === 'GET' && url === '/')
      response
        .writeHead(200, {
          'content-type': 'text/html; charset=utf-8',
          'content-security-policy': "default-src 'self' 'unsafe-inline'",
        })
        .end(page)
    else if (method === 'GET' && url === '/events') watch(response)
    else if (method === 'POST' && url === '/fault') {
      faultyFor = 30
      response.writeHead(204).end()
    } else if (method === 'POST' && url === '/readings') {
      const event = await take(await body(request))
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(event))
    } else response.writeHead(404).end()
  } catch (error) {
    // No JSON, or readings of other sensors.
    response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' })
    response.end((error as Error).message)
  }
})
server.listen(given.port, '127.0.0.1')
await orFail(once(server, 'listening'))
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
signal.addEventListener('abort', () => {
  server.close()
  server.closeAllConnections()
})

// With data of your own, readings come by HTTP only.
for (let at = normal.length; given.data === undefined && !signal.aborted; at++) {
  await take(readPump(at))
  await sleep(given.every, undefined, { signal }).catch(() => {})
}
