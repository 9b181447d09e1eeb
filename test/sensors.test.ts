/** examples/sensor-anomalies.ts: over HTTP, and in a browser where there is one. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { models } from 'fused-rnn'
import { openBrowser, type Server, startServer, withoutBrowser } from './example-server.js'
import { limit, onCpu } from './helpers.js'

// The emulation of a GPU would take minutes for an epoch.
const run = onCpu ? test.serial : test.skip
const onDevice = onCpu ? '' : ' (skipped: too many steps for kernels that are emulated)'

interface Event {
  reading: number
  score: number
  threshold: number
  anomaly: boolean
  column: string
}

async function temporary(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-sensors-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

const start = (t: ExecutionContext, out: string, ...args: string[]): Promise<Server> =>
  startServer(t, 'sensor-anomalies', '--out', out, ...args)

async function* events(url: string): AsyncGenerator<Event> {
  const response = await fetch(`${url}events`)
  let text = ''
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    const lines = text.split('\n\n')
    text = lines.pop() as string
    for (const line of lines) yield JSON.parse(line.replace('data: ', ''))
  }
}

const send = (url: string, body: string): Promise<Response> =>
  fetch(`${url}readings`, { method: 'POST', body })

run(`a fault is told and written down; viewers are bounded; Ctrl-C${onDevice}`, async (t) => {
  const out = await temporary(t)
  const { url, stop } = await start(t, out, '--every', '5', '--epochs', '8', '--viewers', '1')
  let broken = false
  let before = 0
  let alarm: Event | null = null
  for await (const event of events(url)) {
    if (broken && event.anomaly) {
      alarm = event
      break
    }
    if (!broken && event.anomaly) before++
    if (event.reading === 60) {
      t.is((await fetch(`${url}fault`, { method: 'POST' })).status, 204)
      broken = true
      // This one is watching already.
      const second = await fetch(`${url}events`)
      t.is(second.status, 503)
      await second.body?.cancel()
    }
  }
  t.true(before < 6, `${before} alarms of 60 normal readings`)
  const { score, threshold } = alarm as Event
  t.true(score > threshold)
  t.is((await stop()).code, 0)
  const lines = (await readFile(join(out, 'alarms.csv'), 'utf8')).trimEnd().split('\n')
  t.is(lines[0], 'time,score,column')
  t.true(lines.some((line) => line.includes(`,${score},`)))
  const model = await models.AnomalyDetector.load(join(out, 'model'))
  t.is(model.state?.threshold, threshold)
})

run(`readings of one's own come by HTTP, bad ones are refused${onDevice}`, async (t) => {
  const out = await temporary(t)
  const file = join(out, 'normal.csv')
  const rows = Array.from({ length: 220 }, (_, i) => `${Math.sin(i / 3)},${Math.sin(i / 3) * 2}`)
  await writeFile(file, `a,b\n${rows.join('\n')}\n`)
  const { url, stop } = await start(t, out, '--data', file, '--epochs', '20')
  const said: Event[] = []
  for (let i = 0; i < 30; i++) {
    const b = i < 25 ? Math.sin(i / 3) * 2 : 9
    said.push((await (await send(url, JSON.stringify({ a: Math.sin(i / 3), b }))).json()) as Event)
  }
  t.deepEqual(
    said.map(({ reading }) => reading),
    said.map((_, i) => i),
  )
  t.true(said.slice(25).every(({ anomaly, column }) => anomaly && column === 'b'))
  for (const [body, message] of [
    ['{"a": 1}', /b: expected a number, got undefined/],
    ['{"a": 1, "b": "2"}', /b: expected a number, got '2'/],
    ['[1, 2, 3]', /row: expected 2 numbers, got 3/],
    ['null', /row: expected numbers of a, b, got null/],
    ['{', /JSON/],
    [' '.repeat(100_000), /a reading is one short object/],
  ] as const) {
    const refused = await send(url, body)
    t.is(refused.status, 400, body.slice(0, 40))
    t.regex(await refused.text(), message)
  }
  t.is((await fetch(`${url}nowhere`)).status, 404)
  // What was refused is no reading.
  t.is(((await (await send(url, '[0, 0]')).json()) as Event).reading, 30)
  t.is((await stop()).code, 0)
})

const [browse, why] =
  withoutBrowser === null ? [run, onDevice] : [test.skip, ` (skipped: ${withoutBrowser})`]

browse(`in a browser: score and threshold are drawn, a fault is listed${why}`, async (t) => {
  const browser = await openBrowser(t)
  const page = await browser.newPage()
  page.setDefaultTimeout(limit(120))
  const errors: string[] = []
  const elsewhere: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text())
  })
  const { url, stop } = await start(t, await temporary(t), '--every', '20', '--epochs', '8')
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) elsewhere.push(request.url())
  })
  await page.goto(url)
  // The page's policy allows no eval, so no waitForFunction.
  await page.waitForSelector('#state:text-matches("^reading [2-9][0-9]")')
  t.true(((await page.getAttribute('#score', 'd')) ?? '').split('L').length > 20)
  t.regex((await page.getAttribute('#threshold', 'd')) ?? '', /^M0,[\d.]+H100$/)
  await page.click('#fault')
  await page.waitForSelector('#state.alarm')
  t.regex(
    (await page.textContent('#state')) ?? '',
    /^reading \d+: score [\d.]+, threshold [\d.]+, alarm: (vibration|current|temperature)$/,
  )
  t.regex(
    (await page.textContent('#alarms li')) ?? '',
    /^reading \d+, (vibration|current|temperature)$/,
  )
  // The highest point is above the threshold, so nearer to 0.
  const points = (await page.getAttribute('#score', 'd')) ?? ''
  const heights = [...points.matchAll(/,([\d.]+)/g)].map(([, y]) => Number(y))
  const [, limitAt] = /,([\d.]+)H/.exec((await page.getAttribute('#threshold', 'd')) ?? '') ?? []
  t.true(Math.min(...heights) < Number(limitAt))
  t.deepEqual(
    elsewhere.filter((address) => !address.endsWith('/favicon.ico')),
    [],
  )
  t.deepEqual(
    errors.filter((text) => !text.includes('404')),
    [],
  )
  t.is((await stop()).code, 0)
  await page.waitForSelector('#state:text("no connection")')
})
