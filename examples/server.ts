/**
 * A web server that trains in the background: its page shows the loss as it falls, and goes on with
 * what is typed there, as the model would by now.
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { data, type Logger, models, optim, Trainer } from 'fused-rnn'
import { options, port, read, sonnets } from './common.js'

const given = options<{ port: number }>(
  'A web server that trains in the background and writes meanwhile. Ctrl-C ends it.',
  { epochs: 20, corpus: 'a text to learn from' },
  (command) =>
    command.option('--port <number>', 'where to listen; 0: where there is room', port, 8080),
)
const text = given.data === undefined ? sonnets() : await read(given.data)
const vocabulary = data.Vocabulary.fromText(text, { unknownToken: null })
const model = new models.LanguageModel({
  vocabulary,
  embeddingSize: 32,
  hiddenSize: 128,
  numLayers: 1,
})

// ---- The loss, as server-sent events ---------------------------------------------------------------

/** All there have been, for those who come later. */
const events: string[] = []
const watching = new Set<ServerResponse>()

function tell(event: object): void {
  const line = `data: ${JSON.stringify(event)}\n\n`
  events.push(line)
  for (const response of watching) response.write(line)
}

function watch(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write(events.join(''))
  watching.add(response)
  response.on('close', () => watching.delete(response))
}

const logger: Logger = {
  logMetrics({ trainLoss, valLoss }, step) {
    if (trainLoss !== undefined || valLoss !== undefined) tell({ step, trainLoss, valLoss })
  },
}

// ---- Text, a character at a time -------------------------------------------------------------------

async function write(prefix: string, response: ServerResponse): Promise<void> {
  // Checked at the call; the work is done between the steps of the training.
  const tokens = model.generate(prefix, { length: 200, temperature: 0.7 })
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' })
  async function* characters() {
    for await (const token of tokens) yield vocabulary.token(token)
  }
  await pipeline(characters, response)
}

// ---- The server ------------------------------------------------------------------------------------

const page = await readFile(new URL('../examples/server.html', import.meta.url))

const server = createServer(async (request, response) => {
  try {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (pathname === '/')
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page)
    else if (pathname === '/events') watch(response)
    else if (pathname === '/generate') await write(searchParams.get('prefix') ?? '', response)
    else response.writeHead(404).end()
  } catch (error) {
    // A prefix that the model cannot read; or the reader has gone, and hears nothing of this.
    if (!response.headersSent)
      response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' })
    response.end((error as Error).message)
  }
})
server.listen(given.port, '127.0.0.1')
await once(server, 'listening')
console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)

const stop = new AbortController()
process.once('SIGINT', () => {
  stop.abort()
  server.close()
  server.closeAllConnections()
})

const [train, valid] = data.split(vocabulary.encode(text), 0.1)
const size = { batchSize: 16, sequenceLength: 48 }
const trainer = new Trainer({
  maxEpochs: given.epochs,
  gradientClipVal: 1,
  logEveryNSteps: 10,
  logger,
  signal: stop.signal,
})
const { stopped, globalStep } = await trainer.fit(
  model,
  new data.SequentialBatches(train, size),
  new data.SequentialBatches(valid, size),
  { optimizer: new optim.Adam(model.parameters(), { lr: 0.004 }) },
)
tell({ stopped, step: globalStep })
