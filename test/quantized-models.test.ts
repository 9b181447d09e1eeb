/** Models with int8 weights: what is replaced, refused, saved and loaded. */
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  cat,
  io,
  manualSeed,
  models,
  nn,
  noGrad,
  onnx,
  quantization,
  randn,
  type Tensor,
  tensor,
  zeros,
} from 'fused-rnn'
import { closeTo, onCpu, rejectsWith, testDevice, throwsWith } from './helpers.js'
import { array, plain } from './quantization-rule.js'

const cpuTest = onCpu ? test.serial : test.skip
const { quantizeDynamic } = quantization

cpuTest('the model is not changed; its copy is for inference', async (t) => {
  manualSeed(7)
  class Net extends nn.Module {
    readonly embed = new nn.Embedding(20, 8)
    readonly rnn: nn.RecurrentLayer = new nn.GRU(8, 12)
    readonly more = { heads: [new nn.Linear(12, 4), new nn.Linear(12, 3)] as const }
    readonly same = this.more.heads[0]
    forward(tokens: Tensor): Tensor {
      const [y] = this.rnn.forward(this.embed.forward(tokens))
      return cat([this.more.heads[0].forward(y), this.more.heads[1].forward(y)], 2)
    }
  }
  const net = new Net()
  const tokens = tensor(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    { dtype: 'int32' },
  )
  const names = net.namedParameters().map(([name]) => name)
  const before = await array(net.eval().forward(tokens))
  net.train()
  const int8 = quantizeDynamic(net)
  t.true(int8 instanceof Net)
  t.not(int8, net)
  t.true(net.training)
  t.is(net.rnn.constructor, nn.GRU)
  t.deepEqual(
    net.namedParameters().map(([name]) => name),
    names,
  )
  t.true(net.parameters().every((p) => p.requiresGrad))
  t.false(int8.training)
  t.true(int8.rnn instanceof quantization.DynamicQuantizedGRU)
  t.is(int8.same, int8.more.heads[0])
  t.deepEqual(
    int8.namedParameters().map(([name, p]) => [name, p.requiresGrad]),
    [['embed.weight', false]],
  )
  const after = await array(int8.forward(tokens))
  const worst = Math.max(...after.map((value, i) => Math.abs(value - (before[i] as number))))
  t.true(worst < 0.02 && worst > 0, `${worst}`)
  // Training the model does not reach the copy.
  noGrad(() => nn.init.constant(net.more.heads[0].weight, 5))
  t.deepEqual(await array(int8.forward(tokens)), after)
  const again = int8.clone()
  t.deepEqual(await array(again.forward(tokens)), after)
  t.regex(String(int8), /\(rnn\): DynamicQuantizedGRU\(8, 12\)/)
})

cpuTest('which layers', (t) => {
  const model = new nn.ModuleDict({
    rnn: new nn.LSTM(4, 5),
    head: new nn.Sequential(new nn.Linear(5, 6), new nn.ReLU(), new nn.Linear(6, 2)),
    other: new nn.LayerNormLSTM(4, 5),
  })
  const kinds = (options: quantization.QuantizeDynamicOptions): string =>
    quantizeDynamic(model, options)
      .modules()
      .map((module) => module.constructor.name)
      .filter((name) => name.startsWith('Dynamic'))
      .map((name) => name.slice('DynamicQuantized'.length))
      .join()
  t.is(kinds({}), 'LSTM,Linear,Linear')
  t.is(kinds({ qconfigSpec: null }), 'LSTM,Linear,Linear')
  t.is(kinds({ qconfigSpec: [nn.Linear] }), 'Linear,Linear')
  t.is(kinds({ qconfigSpec: new Set([nn.LSTM, 'head.2']) }), 'LSTM,Linear')
  t.is(kinds({ qconfigSpec: ['head'] }), 'Linear,Linear')
  t.is(kinds({ qconfigSpec: [''] }), 'LSTM,Linear,Linear')
  const refused = (spec: unknown, message: RegExp): void =>
    throwsWith(t, () => quantizeDynamic(model, { qconfigSpec: spec as never }), TypeError, message)
  refused(
    [nn.LayerNormLSTM],
    /qconfigSpec: expected nn\.LSTM, .* or nn\.Linear, or the name of a module, got function LayerNormLSTM/,
  )
  refused(['other'], /qconfigSpec: 'other' is LayerNormLSTM, and holds no nn\.LSTM/)
  refused(['body'], /qconfigSpec: expected a name of namedModules\(\), got 'body'/)
  refused([nn.GRU], /model: expected one that holds .*, got ModuleDict without/)
  refused('head', /qconfigSpec: expected an array or a Set of classes and names, got 'head'/)
  refused(5, /qconfigSpec/)
  throwsWith(t, () => quantizeDynamic({} as nn.Module), TypeError, /model: expected a module/)
  throwsWith(t, () => quantizeDynamic(quantizeDynamic(model)), TypeError, /holds nn\.LSTM/)
  class Own extends nn.Linear {}
  const own = quantizeDynamic(new nn.Sequential(new Own(2, 3), new nn.Linear(3, 2)))
  t.deepEqual(
    [...own].map((module) => module.constructor.name),
    ['Own', 'DynamicQuantizedLinear'],
  )
})

cpuTest('what is refused: training, gradients, other shapes, too many columns', async (t) => {
  const lstm = quantizeDynamic(new nn.LSTM(3, 4))
  const linear = quantizeDynamic(new nn.Linear(3, 4))
  const x = randn([2, 3])
  lstm.train()
  linear.train()
  throwsWith(
    t,
    () => lstm.forward(x),
    TypeError,
    /DynamicQuantizedLSTM\.forward\] int8 layers are for inference: call eval\(\)/,
  )
  throwsWith(
    t,
    () => linear.forward(x),
    TypeError,
    /DynamicQuantizedLinear\.forward\] int8 layers are for inference/,
  )
  lstm.eval()
  linear.eval()
  x.requiresGrad = true
  throwsWith(t, () => lstm.forward(x), TypeError, /int8 layers have no gradient: detach\(\)/)
  throwsWith(t, () => linear.forward(x), TypeError, /int8 layers have no gradient/)
  t.deepEqual(noGrad(() => linear.forward(x)).shape, [2, 4])
  const h0 = zeros([1, 4])
  h0.requiresGrad = true
  throwsWith(t, () => lstm.forward(x.detach(), [h0, zeros([1, 4])]), TypeError, /no gradient/)
  throwsWith(
    t,
    () => linear.forward(randn([2, 5])),
    RangeError,
    /x: expected shape \(…, 3\), got \(2, 5\)/,
  )
  throwsWith(t, () => lstm.forward(randn([2, 5])), RangeError, /inputSize/)
  throwsWith(t, () => lstm.resetParameters(), TypeError, /not drawn/)
  throwsWith(
    t,
    () => quantizeDynamic(new nn.Linear(2 ** 16 + 1, 1)),
    RangeError,
    /at most 65536 inputs/,
  )
  t.is(quantizeDynamic(new nn.Linear(2 ** 16, 1)).forward(zeros([1, 2 ** 16])).numel, 1)
  throwsWith(t, () => new quantization.DynamicQuantizedLSTM(3, 4, { device: 'cuda:7' }), Error, /./)
  linear.weight = zeros([1, 2, 3], { dtype: 'int32' })
  throwsWith(
    t,
    () => linear.forward(randn([2, 3])),
    RangeError,
    /weight: expected shape \(1, 2, 16\)/,
  )
  ;(lstm as nn.RecurrentLayer).weight_hh_l0 = zeros([4])
  throwsWith(
    t,
    () => lstm.forward(randn([2, 3])),
    TypeError,
    /weight_hh_l0: expected a tensor of int32/,
  )
  const other = new nn.Linear(3, 4)
  const state = quantizeDynamic(other).stateDict()
  throwsWith(t, () => other.loadStateDict(state), RangeError, /weight_scale/)
  await rejectsWith(
    t,
    onnx.serialize(quantizeDynamic(new nn.Linear(3, 4))),
    TypeError,
    /DynamicQuantizedLinear has int8 weights, which are not exported/,
  )
  // An empty batch is none.
  t.deepEqual(quantizeDynamic(other).forward(zeros([0, 3])).shape, [0, 4])
})

cpuTest('saved and loaded, the bits are the same', async (t) => {
  manualSeed(8)
  const folder = await mkdtemp(join(tmpdir(), 'int8-'))
  const make = (): nn.Module =>
    quantizeDynamic(
      new nn.ModuleDict({
        rnn: new nn.LSTM(7, 30, { projSize: 9, numLayers: 2 }),
        head: new nn.Linear(9, 5),
      }),
    )
  const [a, b] = [make(), make()] as [nn.ModuleDict, nn.ModuleDict]
  const path = join(folder, 'a.safetensors')
  await io.safetensors.save(path, a.stateDict())
  b.loadStateDict(await io.safetensors.load(path))
  const run = async (model: nn.ModuleDict, x: Tensor): Promise<number[]> => {
    const [y] = (model.get('rnn') as nn.LSTM).forward(x)
    return array((model.get('head') as nn.Linear).forward(y))
  }
  const x = randn([4, 2, 7])
  t.deepEqual(await run(b, x), await run(a, x))
  const empty = new quantization.DynamicQuantizedLinear(9, 5)
  t.deepEqual(plain(await array(empty.forward(randn([2, 9])))), new Array(10).fill(0))
  empty.loadStateDict((a.get('head') as nn.Module).stateDict())
  const z = randn([3, 9])
  t.deepEqual(await array(empty.forward(z)), await array((a.get('head') as nn.Linear).forward(z)))
})

cpuTest('a language model generates, is saved and loaded', async (t) => {
  manualSeed(9)
  const folder = await mkdtemp(join(tmpdir(), 'int8-'))
  for (const options of [
    { cell: 'lstm', embeddingSize: 12, hiddenSize: 12, tieWeights: true },
    { cell: 'gru', embeddingSize: 0, hiddenSize: 20 },
    { cell: 'rnn', embeddingSize: 9, hiddenSize: 20 },
  ] as const) {
    const model = new models.LanguageModel({ vocabSize: 23, numLayers: 2, ...options })
    const int8 = quantizeDynamic(model)
    const tokens = tensor(
      [
        [1, 2],
        [3, 4],
      ],
      { dtype: 'int32' },
    )
    const [logits, state] = int8.forward(tokens)
    const [second] = int8.forward(tokens, state)
    t.deepEqual(second.shape, [4, 23])
    const [exact] = model.eval().forward(tokens)
    await closeTo(t, logits, await array(exact), 0.05, options.cell)
    const said: number[] = []
    for await (const token of int8.generate([1, 2], { length: 5, temperature: 0 })) said.push(token)
    t.is(said.length, 5)
    await int8.save(folder)
    const loaded = await models.LanguageModel.load(folder)
    t.true(loaded.rnn.constructor.name.startsWith('DynamicQuantized'))
    t.deepEqual(await array(loaded.forward(tokens)[0]), await array(logits))
    await model.save(folder)
    t.is((await models.LanguageModel.load(folder)).rnn.constructor.name, options.cell.toUpperCase())
  }
})

cpuTest('models of tasks predict, are saved and loaded', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'int8-'))
  const series = Array.from({ length: 120 }, (_, i) => Math.sin(i / 3) + i / 100)
  const forecaster = new models.Forecaster({ horizon: 4, inputSize: 16, hiddenSize: 20 })
  await forecaster.fit(series, { maxEpochs: 2, seed: 1 })
  const int8 = quantizeDynamic(forecaster)
  const { median } = await int8.predict(series)
  await closeTo(t, median as number[], (await forecaster.predict(series)).median as number[], 0.1)
  await int8.save(folder)
  t.deepEqual((await (await models.Forecaster.load(folder)).predict(series)).median, median)
  const examples = Array.from({ length: 40 }, (_, i) => ({
    input: i % 2 === 0 ? 'a good and fine thing' : 'a bad and poor thing',
    label: i % 2 === 0 ? 'good' : 'bad',
  }))
  const classifier = new models.SequenceClassifier({ hiddenSize: 16 })
  await classifier.fit(examples, { maxEpochs: 3, seed: 1 })
  const small = quantizeDynamic(classifier)
  const said = await small.predict(['a good thing', 'bad'])
  for (const [i, { score }] of (await classifier.predict(['a good thing', 'bad'])).entries())
    t.true(Math.abs(score - (said[i]?.score as number)) < 0.05)
  const place = join(folder, 'classifier')
  await small.save(place)
  t.deepEqual(
    await (await models.SequenceClassifier.load(place)).predict(['a good thing', 'bad']),
    said,
  )
})

cpuTest('hooks go along, a class with a clone() of its own does not', async (t) => {
  const layer = new nn.Linear(2, 2)
  let calls = 0
  layer.registerForwardHook(() => {
    calls++
  })
  quantizeDynamic(new nn.Sequential(layer)).forward(zeros([1, 2]))
  t.is(calls, 1)
  class Own extends nn.Module {
    readonly inner = new nn.Linear(2, 2)
    override clone(): this {
      return new Own() as this
    }
    forward(x: Tensor): Tensor {
      return this.inner.forward(x)
    }
  }
  throwsWith(
    t,
    () => quantizeDynamic(new nn.Sequential(new Own(), new nn.Linear(2, 2))),
    TypeError,
    /'0' \(Own\) has a clone\(\) of its own, so its Linear cannot be replaced/,
  )
})

;(onCpu ? test.skip : test)('on a GPU int8 is refused', (t) => {
  const layer = new nn.Linear(2, 3, { device: testDevice })
  throwsWith(t, () => quantizeDynamic(layer), TypeError, /int8 is for the CPU, got 'cuda:0'/)
  const int8 = quantizeDynamic(new nn.Sequential(new nn.LSTM(2, 3, { device: 'cpu' })))
  throwsWith(t, () => int8.to(testDevice), TypeError, /\[to\] device: int8 is for the CPU/)
  throwsWith(
    t,
    () => (int8[0] as nn.LSTM).forward(zeros([1, 2], { device: testDevice })),
    TypeError,
    /input: int8 is for the CPU, got 'cuda:0'/,
  )
  throwsWith(
    t,
    () => new quantization.DynamicQuantizedGRU(2, 3, { device: testDevice }),
    TypeError,
    /device: int8 is for the CPU/,
  )
})
