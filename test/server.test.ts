/** examples/server.ts: over HTTP, and in a browser where there is one. */
import { request } from 'node:http'
import test, { type ExecutionContext } from 'ava'
import { openBrowser, startServer, withoutBrowser } from './example-server.js'
import { limit, onCpu } from './helpers.js'

// The emulation of a GPU would take minutes for an epoch.
const run = onCpu ? test.serial : test.skip
const onDevice = onCpu ? '' : ' (skipped: too many steps for kernels that are emulated)'

interface Event {
  step: number
  trainLoss?: number
  valLoss?: number
  stopped?: string
}

/** The events as they come. */
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

const generate = (url: string, prefix: string, init?: RequestInit): Promise<Response> =>
  fetch(`${url}generate?${new URLSearchParams({ prefix })}`, init)

/** Two readers at once, after one that has disconnected. */
async function ask(t: ExecutionContext, url: string): Promise<string[]> {
  const leaving = new AbortController()
  const left = await generate(url, 'O ', { signal: leaving.signal })
  leaving.abort()
  t.is(await left.text().catch((error) => error.name), 'AbortError')
  return Promise.all(
    ['Shall I ', 'When '].map(async (prefix) => (await generate(url, prefix)).text()),
  )
}

/** The status of a path that fetch would put right itself. */
function statusOf(url: string, path: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request(new URL(url), { path }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    sent.on('error', reject).end()
  })
}

run(`HTTP: the loss falls while text is written; bad requests; Ctrl-C${onDevice}`, async (t) => {
  const { url, stop } = await startServer(t, 'server', '--epochs', '1000')
  const losses: number[] = []
  let texts: Promise<string[]> | null = null
  let stepsMeanwhile = 0
  let done = false
  for await (const { step, trainLoss } of events(url)) {
    if (trainLoss === undefined) continue
    losses.push(trainLoss)
    t.is(step, 10 * losses.length)
    // Two readers at once, a third who goes away.
    texts ??= ask(t, url).finally(() => {
      done = true
    })
    if (done && losses.length > 12) break
    if (!done) stepsMeanwhile++
  }
  const [first = '', second = ''] = (await texts) ?? []
  t.true(first.length === 200 && second.length === 200, `${first.length}, ${second.length}`)
  t.not(first, second)
  t.true(stepsMeanwhile > 3, `${stepsMeanwhile} events while text was written`)
  t.true((losses.at(-1) as number) < (losses[0] as number) - 0.8, String(losses))
  // A reader that comes later gets all of it.
  for await (const { step, trainLoss } of events(url)) {
    t.deepEqual([step, trainLoss], [10, losses[0]])
    break
  }

  const unknown = await generate(url, '\u00e6')
  t.is(unknown.status, 400)
  t.regex(await unknown.text(), /token: expected a token of this vocabulary .* got '\u00e6'$/)
  t.is((await generate(url, '')).status, 400)
  t.is(await statusOf(url, '/nowhere'), 404)
  t.is(await statusOf(url, '//%zz'), 400)
  t.regex(await (await fetch(url)).text(), /^<!doctype html>/)
  t.deepEqual((await stop()).code, 0)
})

const [browse, why] =
  withoutBrowser === null ? [run, onDevice] : [test.skip, ` (skipped: ${withoutBrowser})`]

browse(`in a browser: the curve moves, what is typed goes on${why}`, async (t) => {
  const browser = await openBrowser(t)
  const page = await browser.newPage()
  const { url } = await startServer(t, 'server', '--epochs', '3')
  page.setDefaultTimeout(limit(120))
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(String(error)))
  await page.goto(url)
  const curve = async (id = 'training') => (await page.getAttribute(`#${id}`, 'd')) ?? ''
  await page.waitForFunction("document.querySelector('#training').getAttribute('d')?.includes('L')")
  const before = await curve()
  await page.fill('input', 'O my ')
  await page.click('button')
  await page.waitForFunction("document.querySelector('#text').textContent.length > 40")
  t.regex((await page.textContent('#text')) ?? '', /^O my .{35}/s)
  await page.waitForFunction("document.querySelector('#text').textContent.length >= 205")
  const after = await curve()
  t.true(after.split('L').length > before.split('L').length, `${before} and ${after}`)
  await page.waitForFunction("document.querySelector('#state').textContent.includes('trained')")
  t.regex(
    (await page.textContent('#state')) ?? '',
    /^step \d+, trainLoss [\d.]+, valLoss [\d.]+, trained$/,
  )
  t.regex(await curve('validation'), /^M[\d.]+,.*L100\.00,[\d.]+$/)
  const [, top] = /^M[\d.]+,([\d.]+)/.exec(await curve()) ?? []
  const [, bottom] = /,([\d.]+)$/.exec(await curve()) ?? []
  t.true(Number(bottom) > Number(top) + 50, 'the curve falls')
  // It writes when the training is over, too; what it cannot read it says.
  await page.fill('input', '\u00e6')
  await page.click('button')
  await page.waitForFunction(
    "document.querySelector('#text').textContent.includes('expected a to')",
  )
  t.deepEqual(errors, [])
})
