/** The event loop is free while training keeps all cores busy. In a process of its own. */
import test from 'ava'
import { emulated, runScript } from './helpers.js'

const real = emulated ? test.skip : test

// The bars of docs/reliability.md are for a machine with nothing else to do. Here the measure is the
// time that the work itself takes, which grows with whatever else the machine does: a loop that waits
// for the work turns once in it.
real('timers, HTTP and files go on during steps of seconds', async (t) => {
  const { code, stderr } = await runScript(`
    import { createServer } from 'node:http'
    import { readFile } from 'node:fs/promises'
    import { monitorEventLoopDelay } from 'node:perf_hooks'
    import { nn, noGrad, randn, synchronize } from 'fused-rnn'
    const layer = new nn.LSTM(256, 512, { numLayers: 2 })
    const x = randn([200, 64, 256])
    await synchronize()
    const server = createServer((_, response) => response.end('fine')).listen(0)
    await new Promise((resolve) => server.once('listening', resolve))
    const url = 'http://localhost:' + server.address().port
    await (await fetch(url)).text()
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const begin = performance.now()
    let finished = false
    for (let i = 0; i < 8; i++) noGrad(() => layer.forward(x))
    const done = synchronize().then(() => { finished = true })
    const waits = []
    while (!finished) {
      const before = performance.now()
      await Promise.all([(await fetch(url)).text(), readFile('package.json')])
      waits.push(performance.now() - before)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await done
    const took = performance.now() - begin
    delay.disable()
    server.close()
    server.closeAllConnections()
    const median = waits.sort((a, b) => a - b)[waits.length >> 1]
    const says = JSON.stringify({ took, p99: delay.percentile(99) / 1e6, max: delay.max / 1e6, waits: waits.length, median })
    if (!(waits.length >= 5 && median < took / 10 && delay.percentile(99) / 1e6 < took / 4)) throw new Error(says)
    console.log(says)`)
  t.is(code, 0, stderr)
})
