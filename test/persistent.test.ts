/** FUSED_RNN_CUDA_PATH: a layer's time loop, or all layers', by one kernel, or as a captured graph. */
import test from 'ava'
import { emulated, onCpu, runScript } from './helpers.js'

const gpuTest = onCpu ? test.skip : test

type Layer = [cell: string, hidden: number, batch: number, steps: number, options: object]

const layers: Layer[] = [
  // More sequences than a tile has, more units than a part.
  ['LSTM', 40, 18, 5, {}],
  ['GRU', 20, 3, 6, { numLayers: 2, bidirectional: true }],
  ['RNN', 33, 2, 7, { nonlinearity: 'relu' }],
  ['LSTM', 7, 5, 9, { packed: true, bidirectional: true }],
  // Groups whose sequences end, or begin backwards, at different steps.
  ['GRU', 20, 37, 4, { packed: true, bidirectional: true }],
]

/** Outputs, states and gradients of some layers, as one line of JSON for each. */
const script = (precision: string, of: Layer[]): string => `
  import * as f from 'fused-rnn'
  f.backends.cuda.rnn.fp32Precision = '${precision}'
  for (const [cell, hidden, batch, steps, { packed, ...options }] of ${JSON.stringify(of)}) {
    f.manualSeed(3)
    const rnn = new f.nn[cell](5, hidden, options)
    const x = f.randn([steps, batch, 5], { requiresGrad: true })
    const lengths = Array.from({ length: batch }, (_, i) => steps - Math.floor((i * steps) / batch))
    const directions = options.bidirectional ? 2 : 1
    const layersOfState = (options.numLayers ?? 1) * directions
    const start = () => f.randn([layersOfState, batch, hidden], { requiresGrad: true })
    const h0 = start()
    const before = cell === 'LSTM' ? [h0, start()] : h0
    const input = packed ? f.nn.utils.rnn.packPaddedSequence(x, lengths) : x
    const [output, state] = rnn.forward(input, before)
    const y = packed ? output.data : output
    const h = Array.isArray(state) ? state[0] : state
    y.mul(y).sum().add(h.sum()).backward()
    const all = [y, h, x.grad, h0.grad, ...rnn.parameters().map((p) => p.grad)]
    const values = await Promise.all(all.map((tensor) => tensor.data()))
    console.log(JSON.stringify(values.flatMap((value) => [...value])))
  }`

async function results(
  path: string,
  precision = 'ieee',
  { of = layers, multiprocessors = 4, clusters = 'off', env = {} } = {},
): Promise<number[][]> {
  const { stdout, stderr } = await runScript(script(precision, of), {
    env: {
      FUSED_RNN_CUDA_PATH: path,
      FUSED_RNN_CUDA_CLUSTERS: clusters,
      // Fewer leave each group several tiles of sequences. A GPU has what it has.
      FUSED_RNN_CUDA_HOST_MULTIPROCESSORS: `${multiprocessors}`,
      ...env,
    },
  })
  const lines = stdout.trim().split('\n')
  if (lines.length !== of.length) throw new Error(stderr)
  return lines.map((line) => JSON.parse(line))
}

/** The largest difference, of numbers below 1 absolute, else relative. */
function difference(a: number[], b: number[]): number {
  if (a.length !== b.length || a.length === 0) return Number.POSITIVE_INFINITY
  const each = a.map((x, i) => Math.abs(x - (b[i] ?? Number.NaN)) / Math.max(1, Math.abs(x)))
  return each.reduce((most, d) => (d > most || Number.isNaN(d) ? d : most), 0)
}

gpuTest('one kernel gives what the step by step way gives', async (t) => {
  const [kernel, again, graph, tf32, bf16, tiles] = await Promise.all([
    results('persistent'),
    results('persistent'),
    results('graph'),
    results('persistent', 'tf32'),
    results('persistent', 'bf16'),
    results('persistent', 'ieee', { multiprocessors: 1 }),
  ])
  t.deepEqual(kernel, again, 'the same bits every time')
  for (let i = 0; i < graph.length; i++) {
    const expected = graph[i] ?? []
    t.true(difference(expected, kernel[i] ?? []) < 2e-5, `layer ${i}`)
    t.true(difference(expected, tiles[i] ?? []) < 2e-5, `layer ${i}, on one multiprocessor`)
    // Ten bits behind the point, in sums of as many as 40 products, over 9 steps.
    const rounded = difference(expected, tf32[i] ?? [])
    t.true(rounded < 2e-2, `layer ${i} in TF32: ${rounded}`)
    t.true(rounded > 1e-6, `layer ${i} is not in TF32`)
    // Seven bits.
    const coarse = difference(expected, bf16[i] ?? [])
    t.true(coarse < 8 * 2e-2, `layer ${i} in bfloat16: ${coarse}`)
    t.true(coarse > rounded, `layer ${i} is not in bfloat16: ${coarse}`)
  }
})

gpuTest('layers of more units, whose unit tiles are smaller', async (t) => {
  const wide: Layer[] = [
    ['LSTM', 260, 3, 2, {}],
    ['GRU', 300, 18, 2, {}],
  ]
  const all: Layer[] = [...wide, ['LSTM', 520, 3, 2, {}], ['RNN', 1000, 2, 2, {}]]
  const room = { multiprocessors: 132 }
  const [exact, rounded, coarse, expected] = await Promise.all([
    results('persistent', 'ieee', { of: wide, ...room }),
    results('persistent', 'tf32', { of: all, ...room }),
    results('persistent', 'bf16', { of: all, ...room }),
    results('graph', 'ieee', { of: all, ...room }),
  ])
  for (const [i, layer] of wide.entries())
    t.true(difference(expected[i] ?? [], exact[i] ?? []) < 2e-5, String(layer))
  for (const [i, layer] of all.entries()) {
    t.true(difference(expected[i] ?? [], rounded[i] ?? []) < 2e-2, `${layer} in TF32`)
    t.true(difference(expected[i] ?? [], coarse[i] ?? []) < 8 * 2e-2, `${layer} in bfloat16`)
  }
})

gpuTest('what has not been timed is only used where it is asked for', async (t) => {
  const loops = async (path: string): Promise<string> => {
    const { stderr } = await runScript(
      `
      import { backends, nn, zeros } from 'fused-rnn'
      backends.cuda.rnn.fp32Precision = 'bf16'
      const [y] = new nn.RNN(1, 1040).forward(zeros([5, 1, 1]))
      await y.sum().item()`,
      {
        env: {
          FUSED_RNN_CUDA_PATH: path,
          FUSED_RNN_CUDA_GRAPHS: 'report',
          FUSED_RNN_CUDA_HOST_MULTIPROCESSORS: '132',
        },
      },
    )
    return /(\d+) loops queued/.exec(stderr)?.[1] ?? stderr
  }
  t.is(await loops('persistent'), '0')
  t.is(await loops(''), '1')
})

gpuTest('blocks in clusters add up the same', async (t) => {
  const of: Layer[] = [
    ['LSTM', 40, 18, 5, {}],
    ['GRU', 20, 37, 4, { packed: true, bidirectional: true }],
    ['RNN', 150, 2, 7, {}],
  ]
  // Parts of 8 units that fill their clusters, and that do not.
  const wide: Layer[] = [
    ['GRU', 512, 3, 2, {}],
    ['LSTM', 520, 2, 2, {}],
  ]
  const room = { of: wide, multiprocessors: 132 }
  const [graph, alone, clusters, again, coarse, expected, rounded, wideAlone] = await Promise.all([
    results('graph', 'ieee', { of }),
    results('persistent', 'ieee', { of }),
    results('persistent', 'ieee', { of, clusters: 'on' }),
    results('persistent', 'ieee', { of, clusters: 'on' }),
    results('persistent', 'bf16', { of, clusters: 'on' }),
    results('graph', 'ieee', room),
    results('persistent', 'tf32', { ...room, clusters: 'on' }),
    results('persistent', 'tf32', room),
  ])
  t.deepEqual(clusters, again, 'the same bits every time')
  for (const [i, layer] of of.entries()) {
    t.true(difference(graph[i] ?? [], clusters[i] ?? []) < 2e-5, String(layer))
    t.true(difference(graph[i] ?? [], coarse[i] ?? []) < 8 * 2e-2, `${layer} in bfloat16`)
  }
  t.notDeepEqual(clusters, alone, 'another order of sums')
  for (const [i, layer] of wide.entries()) {
    t.true(difference(expected[i] ?? [], rounded[i] ?? []) < 2e-2, `${layer} in TF32`)
    t.true(difference(wideAlone[i] ?? [], rounded[i] ?? []) < 2e-3, `${layer} beside no clusters`)
  }
})

gpuTest('layers as a wavefront', async (t) => {
  const of: Layer[] = [
    ['LSTM', 40, 18, 5, { numLayers: 3, dropout: 0.3 }],
    ['GRU', 20, 37, 4, { packed: true, numLayers: 2 }],
    ['RNN', 33, 2, 7, { numLayers: 4 }],
    // Not as one: a single layer, both directions.
    ['LSTM', 20, 3, 5, {}],
    ['GRU', 20, 3, 5, { numLayers: 2, bidirectional: true }],
  ]
  const room = { of, multiprocessors: 8 }
  const [graph, kernel, again, tf32, bf16, tiles] = await Promise.all([
    results('graph', 'ieee', room),
    results('wavefront', 'ieee', room),
    results('wavefront', 'ieee', room),
    results('wavefront', 'tf32', room),
    results('wavefront', 'bf16', room),
    results('wavefront', 'ieee', { of, multiprocessors: 2 }),
  ])
  t.deepEqual(kernel, again, 'the same bits every time')
  for (const [i, layer] of of.entries()) {
    const expected = graph[i] ?? []
    t.true(difference(expected, kernel[i] ?? []) < 2e-5, String(layer))
    t.true(difference(expected, tiles[i] ?? []) < 2e-5, `${layer} on two multiprocessors`)
    t.true(difference(expected, tf32[i] ?? []) < 2e-2, `${layer} in TF32`)
    t.true(difference(expected, bf16[i] ?? []) < 8 * 2e-2, `${layer} in bfloat16`)
  }
})

gpuTest(
  'every not-a-number comes through, also the one that stands for what is not there yet',
  async (t) => {
    const { stdout, stderr } = await runScript(
      `
    import { nn, tensor, zeros, full } from 'fused-rnn'
    const rnn = new nn.LSTM(2, 20)
    const bits = new Float32Array(new Uint32Array([0xffffffff]).buffer)[0]
    for (const value of [Number.NaN, bits]) {
      const h0 = full([1, 1, 20], value)
      const [y] = rnn.forward(zeros([5, 1, 2]), [h0, zeros([1, 1, 20])])
      console.log((await y.data()).every((x) => Number.isNaN(x)))
    }`,
      { env: { FUSED_RNN_CUDA_PATH: 'persistent' } },
    )
    t.is(stdout, 'true\ntrue\n', stderr)
  },
)

// What native/cuda_host can be told; a GPU is as it is.
const hostTest = emulated ? test : test.skip

hostTest('a layer whose kernel is refused goes the other way, once and for all', async (t) => {
  // cudaErrorLaunchOutOfResources, cudaErrorCooperativeLaunchTooLarge, …NotPermitted, …NotSupported
  const errors = ['701', '720', '800', '801']
  const [graph, ...refused] = await Promise.all([
    results('graph'),
    ...errors.map((error) =>
      results('persistent', 'ieee', { env: { FUSED_RNN_CUDA_HOST_REFUSE: error } }),
    ),
    results('persistent', 'ieee', { clusters: 'on', env: { FUSED_RNN_CUDA_HOST_REFUSE: '720' } }),
  ])
  for (const [i, values] of refused.entries())
    t.deepEqual(values, graph, errors[i] ?? 'in clusters')
  const of: Layer[] = [['LSTM', 40, 18, 9, { numLayers: 3, dropout: 0.3 }]]
  const [wave, refusedWave] = await Promise.all([
    results('graph', 'ieee', { of }),
    results('wavefront', 'ieee', { of, env: { FUSED_RNN_CUDA_HOST_REFUSE: '720' } }),
  ])
  t.true(difference(wave?.[0] ?? [], refusedWave?.[0] ?? []) < 2e-5, 'a wavefront')
  const { stderr } = await runScript(script('ieee', [layers[0] as Layer, layers[0] as Layer]), {
    env: { FUSED_RNN_CUDA_HOST_REFUSE: '720', FUSED_RNN_CUDA_GRAPHS: 'report' },
  })
  t.regex(stderr, /whole loops that a GPU refused: 2$/m, 'forward and backward')
})

hostTest('any other error of a launch is one of the layer', async (t) => {
  const { code, stderr } = await runScript(script('ieee', layers), {
    env: { FUSED_RNN_CUDA_HOST_REFUSE: '9' },
  })
  t.not(code, 0)
  t.regex(stderr, /kernel launch: cudaErrorInvalidConfiguration/)
})

hostTest('a smaller cache leaves the kernels the smaller layers', async (t) => {
  const of: Layer[] = [['LSTM', 40, 18, 5, {}]]
  const cache = (bytes: number) =>
    results('', 'ieee', { of, env: { FUSED_RNN_CUDA_HOST_L2: `${bytes}` } })
  // In a step three blocks read the states of two tiles of rows, backward tagged partial sums of three blocks.
  const forward = 2 * 16 * 3 * 16 * 3 * 4
  const [kernel, graph, all, one, none] = await Promise.all([
    results('persistent', 'ieee', { of }),
    results('graph', 'ieee', { of }),
    cache(Math.ceil((2 * forward * 50) / 24)),
    cache(Math.ceil((2 * forward * 50) / 24) - 3),
    cache(Math.ceil((forward * 50) / 24) - 3),
  ])
  t.deepEqual(all, kernel)
  t.deepEqual(none, graph)
  const outputs = 5 * 18 * 40
  t.deepEqual(one[0]?.slice(0, outputs), kernel[0]?.slice(0, outputs), 'forward by the kernel')
  t.notDeepEqual(one, kernel, 'backward not')
})

gpuTest('a GPU without clusters does without', async (t) => {
  const of: Layer[] = [['LSTM', 40, 18, 5, {}]]
  const env = { FUSED_RNN_CUDA_PATH: 'persistent', FUSED_RNN_CUDA_HOST_CAPABILITY: '80' }
  const [asked, without] = await Promise.all(
    ['on', 'off'].map((clusters) =>
      runScript(script('ieee', of), { env: { ...env, FUSED_RNN_CUDA_CLUSTERS: clusters } }),
    ),
  )
  t.is(asked?.code, 0, asked?.stderr)
  if (process.env.FUSED_RNN_ADDON) t.is(asked?.stdout, without?.stdout)
})

gpuTest('another value is an error', async (t) => {
  for (const [variable, expected] of [
    ['FUSED_RNN_CUDA_PATH', "'persistent', 'wavefront' or 'graph'"],
    ['FUSED_RNN_CUDA_CLUSTERS', "'on' or 'off'"],
  ] as const) {
    const env = { FUSED_RNN_CUDA_PATH: 'persistent', FUSED_RNN_CUDA_CLUSTERS: 'on' }
    const { code, stderr } = await runScript(script('ieee', layers), {
      env: { ...env, [variable]: 'best' },
    })
    t.not(code, 0)
    t.true(stderr.includes(`${variable}: expected ${expected}, got 'best'`), stderr)
  }
})
