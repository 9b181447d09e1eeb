/**
 * How long predictions and the event loop wait while training goes on in the same process:
 * `node dist-bench/tasks/latency.js [SECONDS]`. Every few milliseconds a row is pushed into streams of a
 * Forecaster, a SequenceRecognizer and an AnomalyDetector of H 64, and into an OnlineLearner, which
 * learns from it, too: alone, while the OnlineLearner learns from 20 other clients all the time, and
 * while a Trainer trains a SequenceClassifier of texts (H 64, 32 a step).
 */
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { manualSeed, models, nn, OnlineLearner, optim, type Tensor } from 'fused-rnn'

const seconds = Number(process.argv[2] ?? '15')

const wave = (n: number): number[] =>
  Array.from({ length: n }, (_, i) => Math.sin(i / 4) + 0.1 * Math.sin(i * i))
manualSeed(1)
const quick = { maxEpochs: 1, progressBar: false }
const forecaster = new models.Forecaster({ horizon: 12, inputSize: 36, hiddenSize: 64 })
await forecaster.fit(wave(300), quick)
const detector = new models.AnomalyDetector({ hiddenSize: 64 })
await detector.fit(wave(300), quick)
const recognizer = new models.SequenceRecognizer({ hiddenSize: 64, bidirectional: false })
await recognizer.fit([{ input: wave(50).map((x) => [x]), target: 'abc' }], { ...quick, valid: 0 })

class Next extends nn.Module {
  rnn = new nn.GRU(1, 64)
  head = new nn.Linear(64, 1)
  override forward(input: Tensor, state?: never): [Tensor, unknown] {
    const [output, next] = this.rnn.forward(input, state)
    return [this.head.forward(output), next]
  }
}
const next = new Next()
const learner = new OnlineLearner(next, { optimizer: new optim.Adam(next.parameters()) })

const [forecasts, labels, scores] = [
  forecaster.stream(wave(36)),
  recognizer.stream(),
  detector.stream(),
]
for (const x of wave(12)) await scores.push(x)
const asked: Record<string, (x: number) => Promise<unknown>> = {
  'Forecaster.stream, 36 rows': (x) => forecasts.push(x),
  'SequenceRecognizer.stream': (x) => labels.push([x]),
  'AnomalyDetector.stream, 10 rows': (x) => scores.push(x),
  'OnlineLearner.predict': (x) => learner.predict('a', [x]),
  'OnlineLearner.update': (x) => learner.update('a', [x]),
}

const words = ['the', 'of', 'and', 'you', 'see', 'it', 'prize', 'noon']
const mails = Array.from({ length: 2000 }, (_, i) => ({
  input: Array.from({ length: 20 + (i % 20) }, (_, k) => words[(i * 7 + k * k) % 8]).join(' '),
  label: i % 2,
}))

/** Learns from others until it is told to end. */
async function learn(signal: AbortSignal): Promise<void> {
  for (let t = 0; !signal.aborted; t++)
    await Promise.all(
      Array.from({ length: 20 }, (_, client) =>
        learner.update(`other ${client}`, [Math.sin(t / (3 + client))]),
      ),
    )
}

type Background = 'alone' | 'while an OnlineLearner learns' | 'while a Trainer trains'

async function measure(kind: Background): Promise<void> {
  const stop = new AbortController()
  const { signal } = stop
  const background =
    kind === 'alone'
      ? null
      : kind === 'while an OnlineLearner learns'
        ? learn(signal)
        : new models.SequenceClassifier({ hiddenSize: 64 }).fit(mails, {
            maxEpochs: 10_000,
            valid: 0,
            progressBar: false,
            signal,
          })
  await sleep(500)
  const times: Record<string, number[]> = {}
  const loop = monitorEventLoopDelay({ resolution: 1 })
  loop.enable()
  const end = performance.now() + 1000 * seconds
  for (let i = 0; performance.now() < end; i++)
    for (const [name, ask] of Object.entries(asked)) {
      const begin = performance.now()
      await ask(Math.sin(i / 4))
      times[name] ??= []
      times[name].push(performance.now() - begin)
      await sleep(2)
    }
  loop.disable()
  stop.abort()
  await background
  console.log(kind)
  const at = (list: number[], q: number): string =>
    `${(list.sort((a, b) => a - b)[Math.floor(q * (list.length - 1))] as number).toFixed(3)} ms`
  for (const [name, list] of Object.entries(times))
    console.log(`  ${name}: p50 ${at(list, 0.5)}, p99 ${at(list, 0.99)} (${list.length} rows)`)
  // The timer itself waits 1 ms.
  console.log(`  event loop: p99 ${(loop.percentile(99) / 1e6 - 1).toFixed(2)} ms late`)
}
await measure('alone')
await measure('while an OnlineLearner learns')
await measure('while a Trainer trains')
