/** autograd.profiler: what ran, where, and for how long; as a table and as a Chrome trace. */
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { autograd, nn, randn } from 'fused-rnn'
import { onCpu, rejectsWith, throwsWith } from './helpers.js'

const { profile, recordFunction } = autograd.profiler
const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-'))

interface Event {
  ph: string
  tid: number
  name: string
  cat: string
  ts: number
  dur: number
  args?: { name: string }
}

const layer = new nn.LSTM(32, 64)
const step = (): void => {
  layer
    .forward(randn([40, 32, 32]))[0]
    .mul(2)
    .sum()
    .backward()
}

// One profile at a time in a thread.
test.serial('a profile: events of both threads, sums, a table', async (t) => {
  const prof = new profile()
  throwsWith(t, () => new profile(), TypeError, /^\[profile\] expected one profile at a time/)
  throwsWith(
    t,
    () => prof.keyAverages(),
    TypeError,
    /^\[keyAverages\] expected a profile that has ended/,
  )
  recordFunction('first step', step)
  step()
  await prof.stop()
  step() // is none of it
  const sums = prof.keyAverages()
  const of = (where: string, key: RegExp) =>
    sums.filter((sum) => sum.where === where && key.test(sum.key))
  t.is(of('range', /^first step$/)[0]?.count, 1)
  t.is(of('backward', /^rnn backward$/)[0]?.count, 2)
  t.is(of('call', /^rnnForward$/)[0]?.count, 2)
  const queued = of('queue', /./)
  t.true(queued.length > 2)
  for (const { count, total, mean } of sums) {
    t.true(count > 0 && total >= 0)
    t.true(Math.abs(mean * count - total) < 1e-6)
  }
  const table = sums.table({ sortBy: 'count', rowLimit: 3 })
  t.is(table.split('\n').length, 4)
  t.regex(table, /^name +where +calls +total ms +mean ms\n/)
  t.regex(sums.table({ sortBy: 'key' }), /rnn backward +backward +2 /)
  throwsWith(t, () => sums.table({ sortBy: 'x' as never }), TypeError, /^\[table\] sortBy/)
  throwsWith(t, () => sums.table({ rowLimit: 0 }), RangeError, /^\[table\] rowLimit/)

  const file = join(folder, 'trace.json')
  await prof.exportChromeTrace(pathToFileURL(file))
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: Event[] }
  const threads = traceEvents.filter(({ ph }) => ph === 'M').map(({ args }) => args?.name)
  t.true(threads.includes('JavaScript') && threads.includes('queue of the CPU'))
  const events = traceEvents.filter(({ ph }) => ph === 'X')
  t.true(events.every(({ ts, dur }) => ts > 0 && dur >= 0))
  const range = events.find(({ name }) => name === 'first step') as Event
  const inside = events.filter(({ ts, dur }) => ts >= range.ts && ts + dur <= range.ts + range.dur)
  t.true(inside.some(({ name }) => name === 'rnnForward'))
  if (onCpu) {
    // The clocks are one: the queue begins after JavaScript does.
    const runs = events.filter(({ cat }) => cat === 'queue')
    const calls = events.filter(({ cat }) => cat === 'call')
    const first = (list: Event[]): number => Math.min(...list.map(({ ts }) => ts))
    t.true(first(runs) > first(calls) - 1000)
    t.true(first(runs) < Math.max(...calls.map(({ ts, dur }) => ts + dur)) + 10e6)
  }
  await rejectsWith(
    t,
    prof.exportChromeTrace(join(folder, 'none', 'trace.json')),
    Error,
    /^\[exportChromeTrace\] path: expected a file that can be written/,
  )
  await rejectsWith(t, prof.exportChromeTrace(1 as never), TypeError, /^\[exportChromeTrace\] path/)
})

test.serial('without a profile nothing is noted, and one after the other is fine', async (t) => {
  t.is(
    recordFunction('x', () => 5),
    5,
  )
  throwsWith(t, () => recordFunction(1 as never, step), TypeError, /^\[recordFunction\] name/)
  throwsWith(
    t,
    () => recordFunction('x', 1 as never),
    TypeError,
    /^\[recordFunction\] f: expected a function/,
  )
  const prof = new profile()
  t.throws(
    () =>
      recordFunction('fails', () => {
        throw new Error('on purpose')
      }),
    { message: 'on purpose' },
  )
  await prof.stop()
  await prof.stop()
  t.deepEqual(
    prof
      .keyAverages()
      .map(({ key }) => key)
      .filter((key) => key === 'fails'),
    ['fails'],
  )
  t.is(typeof prof.keyAverages().table(), 'string')
})
