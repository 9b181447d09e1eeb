import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { manualSeed, models, optim, randomState, Tensor, tensor, zeros } from 'fused-rnn'
import { zipped } from '../dist/io/zip_writer.js'
import { topologyOf } from '../dist/models/keras/topology.js'
import { rejectsWith, testDevice, throwsWith } from './helpers.js'

const fixtures = fileURLToPath(new URL('../test/fixtures/', import.meta.url))
const keras = (name: string): string => join(fixtures, 'keras', name)
const tfjs = (name: string): string => join(fixtures, 'tfjs', name, 'model.json')
const json = async (path: string) => JSON.parse(await readFile(path, 'utf8'))

let folder: string
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fused-rnn-keras-'))
})
test.after.always(() => rm(folder, { recursive: true, force: true }))

interface Manifest {
  paths: unknown[]
  weights: { name: string; shape: number[]; dtype: string; quantization?: object }[]
}

interface KerasLayerJson {
  class_name: string
  config: Record<string, unknown>
}

interface TfjsJson {
  format: string
  modelTopology: {
    config: { layers: KerasLayerJson[] }
  } | null
  weightsManifest: [Manifest]
}

interface Computed {
  input: never
  integers: boolean
  outputs: Expected[]
  norms: Record<string, number>
  files: string[]
}

interface Expected {
  shape: number[]
  values: number[]
}

async function close(t: ExecutionContext, got: Tensor, { shape, values }: Expected): Promise<void> {
  t.deepEqual([...got.shape], shape)
  const data = await got.data()
  const worst = values.reduce((most, value, i) => {
    const difference = Math.abs((data[i] as number) - value) / Math.max(1, Math.abs(value))
    return Math.max(most, Number.isNaN(difference) ? Infinity : difference)
  }, 0)
  t.true(worst < 1e-5, `off by ${worst}`)
}

const device = testDevice

test('models of Keras: outputs and gradients', async (t) => {
  const expected = (await json(join(fixtures, 'keras.json'))).models
  for (const [name, { input, integers, outputs, norms, files }] of Object.entries<Computed>(
    expected,
  ))
    for (const file of files) {
      const model = (await models.fromKeras(keras(file), { device })).eval()
      const x = tensor(input, { device, ...(integers && { dtype: 'int32' as const }) })
      const output = model.forward<Tensor | readonly [Tensor, Tensor]>(x)
      const all = output instanceof Tensor ? [output] : output
      t.is(all.length, outputs.length, name)
      for (const [i, y] of all.entries()) await close(t, y, outputs[i] as Expected)
      all
        .map((y) => y.square().mean())
        .reduce((a, b) => a.add(b))
        .backward()
      for (const [layer, norm] of Object.entries<number>(norms)) {
        let sum = 0
        for (const { grad } of model.layers[layer]?.parameters() ?? [])
          for (const value of (await grad?.data()) ?? []) sum += (value as number) ** 2
        t.true(Math.abs(Math.sqrt(sum) - norm) < 1e-4 * Math.max(1, norm), `${file}, ${layer}`)
      }
    }
})

test('models of TensorFlow.js', async (t) => {
  const expected = (await json(join(fixtures, 'tfjs.json'))).models
  for (const [name, one] of Object.entries<Expected & { input: number[]; inputShape: number[] }>(
    expected,
  )) {
    const model = (await models.fromTfjs(tfjs(name), { device })).eval()
    const x = tensor(Float32Array.from(one.input), { shape: one.inputShape, device })
    await close(t, model.forward(x), one)
  }
})

test('a model that was read trains further, is copied and saved', async (t) => {
  manualSeed(1)
  const model = await models.fromKeras(keras('functional.keras'), { device })
  const x = zeros([4, 9, 3], { device }).add(0.5)
  const loss = () => model.forward(x).sub(1).square().mean()
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.02 })
  const first = await loss().item()
  for (let i = 0; i < 30; i++) {
    optimizer.zeroGrad()
    loss().backward()
    await optimizer.step()
  }
  t.true((await loss().item()) < first / 4)
  model.eval()
  const copy = model.clone()
  t.deepEqual(await copy.forward(x).data(), await model.forward(x).data())
  const fresh = (await models.fromKeras(keras('functional.keras'), { device })).eval()
  fresh.loadStateDict(model.stateDict())
  t.deepEqual(await fresh.forward(x).data(), await model.forward(x).data())
  const frozen = await models.fromKeras(keras('frozen.keras'))
  t.deepEqual(
    frozen.parameters().map((p) => p.requiresGrad),
    [false, false, true, true],
  )
})

test.serial('reading a model draws no random numbers', async (t) => {
  manualSeed(5)
  const before = randomState()
  await models.fromKeras(keras('text.keras'))
  t.deepEqual(randomState(), before)
})

test('layers with numbers as names keep their order', async (t) => {
  const at = join(folder, 'numbers')
  await cp(join(fixtures, 'tfjs/functional'), at, { recursive: true })
  const text = await readFile(join(at, 'model.json'), 'utf8')
  const names = [...new Set([...text.matchAll(/"(\w+_[A-Z]\w+?\d+)"/g)].map((m) => m[1] as string))]
  let changed = text
  for (const [i, name] of names.entries())
    changed = changed.replaceAll(`"${name}"`, `"${99 - i}"`).replaceAll(`"${name}/`, `"${99 - i}/`)
  await writeFile(join(at, 'model.json'), changed)
  const model = (await models.fromTfjs(join(at, 'model.json'), { device: testDevice })).eval()
  const one = (await json(join(fixtures, 'tfjs.json'))).models.functional
  const x = tensor(Float32Array.from(one.input), { shape: one.inputShape })
  await close(t, model.forward(x), one)
})

test('what is not known is named with its layer and place', async (t) => {
  const refused = (name: string, message: RegExp) =>
    rejectsWith(t, models.fromKeras(keras(name)), Error, message)
  await refused('branches.keras', /the layer 'add' has 2 inputs: a graph with branches/)
  await refused('unknown.keras', /layer 2 of 2, 'batch_norm.*\(BatchNormalization\).*known are/)
  await refused('stateful.h5', /layer 1 of 1, .*\(LSTM\): its stateful is true/)
  await refused('alone.weights.h5', /weights alone.*model\.save/)
  await refused('nothing.keras', /\[models\.fromKeras\] .*nothing\.keras: no such file/)
  await rejectsWith(t, models.fromKeras(tfjs('text')), Error, /models\.fromTfjs/)
  await rejectsWith(
    t,
    models.fromKeras(join(fixtures, 'torch/lstm.pt')),
    Error,
    /no model of Keras/,
  )
  await rejectsWith(t, models.fromTfjs(keras('text.h5')), Error, /not valid UTF-8|not JSON/)
  await rejectsWith(t, models.fromKeras(5 as never), TypeError, /path: expected/)
  await rejectsWith(t, models.fromKeras('a', { x: 1 } as never), TypeError, /one of device, signal/)
  const model = await models.fromKeras(keras('functional.keras'))
  throwsWith(
    t,
    () => model.forward(zeros([2, 9, 4])),
    RangeError,
    /x: expected shape \(N, 9, 3\), got/,
  )
  throwsWith(t, () => model.forward(5 as never), TypeError, /\[KerasModel\] x: expected a tensor/)
})

test('damaged files', async (t) => {
  for (const name of ['text.keras', 'text.h5']) {
    const bytes = await readFile(keras(name))
    for (const length of [0, 6, 20, 3000, bytes.length - 5000]) {
      const path = join(folder, `short-${name}`)
      await writeFile(path, bytes.subarray(0, length))
      await rejectsWith(t, models.fromKeras(path), Error, /^\[models\.fromKeras\] .*short-text/)
    }
  }
  const path = join(folder, 'other.keras')
  const config = Buffer.from('{"class_name":"Sequential","config":{"layers":[]}}')
  await writeFile(path, Buffer.concat([...zipped([{ name: 'config.json', bytes: config }])]))
  await rejectsWith(t, models.fromKeras(path), Error, /it has no layers/)
})

test('a folder of TensorFlow.js: damage, and paths that leave it', async (t) => {
  const at = join(folder, 'tfjs')
  await cp(join(fixtures, 'tfjs/pooled'), at, { recursive: true })
  const path = join(at, 'model.json')
  const text = await readFile(path, 'utf8')
  const refused = async (change: (model: TfjsJson) => void, message: RegExp) => {
    const model = JSON.parse(text)
    change(model)
    await writeFile(path, JSON.stringify(model))
    await rejectsWith(t, models.fromTfjs(path), Error, message)
  }
  const weightOf = (model: TfjsJson) => group(model).weights[0] as Manifest['weights'][0]
  const layerOf = (model: TfjsJson) => model.modelTopology?.config.layers[0] as KerasLayerJson
  const group = (model: TfjsJson): Manifest => model.weightsManifest[0]
  await copyFile(join(at, 'weights.bin'), join(folder, 'outside.bin'))
  await symlink(join(folder, 'outside.bin'), join(at, 'link.bin'))
  await mkdir(join(at, 'folder'))
  for (const name of [
    '../outside.bin',
    join(folder, 'outside.bin'),
    'folder/../../outside.bin',
    5,
    '',
  ])
    await refused((m) => {
      group(m).paths = [name]
    }, /not in the folder of the file/)
  await refused((m) => {
    group(m).paths = ['link.bin']
  }, /not in the folder of the file/)
  await refused((m) => {
    group(m).paths = ['folder']
  }, /a folder/)
  await refused((m) => {
    group(m).paths = ['none.bin']
  }, /'none\.bin': no such file/)
  await refused((m) => {
    weightOf(m).shape = [2 ** 40]
  }, /files are cut short/)
  await refused((m) => {
    weightOf(m).shape = [1, 9]
  }, /belong to no weight|cut short/)
  await refused((m) => {
    weightOf(m).dtype = 'string'
  }, /of the type 'string'/)
  await refused((m) => {
    weightOf(m).name = 'x'
  }, /'gru_GRU2' \(GRU\): its recurrent_kernel .*expected/)
  await refused((m) => {
    m.format = 'graph-model'
  }, /graph model/)
  await refused((m) => {
    m.modelTopology = null
  }, /modelTopology is null/)
  await refused((m) => {
    layerOf(m).config.units = 1e9
  }, /kernel.*expected/)
  await refused((m) => {
    layerOf(m).config.activation = 'constructor'
  }, /activation/)
  await refused((m) => {
    layerOf(m).class_name = 'toString'
  }, /not known/)
  const half = JSON.parse(text)
  const values = new Float32Array((await readFile(join(at, 'weights.bin'))).buffer.slice(0))
  t.true(values.length > 0)
  for (const weight of half.weightsManifest[0].weights)
    weight.quantization = { dtype: 'uint8', scale: 0.01, min: -1 }
  const count = half.weightsManifest[0].weights
    .map(({ shape }: { shape: number[] }) => shape.reduce((a, b) => a * b, 1))
    .reduce((a: number, b: number) => a + b, 0)
  await writeFile(join(at, 'weights.bin'), Buffer.alloc(count, 150))
  await writeFile(path, JSON.stringify(half))
  const model = await models.fromTfjs(path)
  const weight = model.stateDict().get('layers.gru_GRU2.rnn.weight_ih_l0') as Tensor
  t.true([...(await weight.data())].every((x) => Math.abs(x - 0.5) < 1e-6))
})

test('graphs that are no chain', (t) => {
  const layer = (name: string, from: unknown[], kind = 'Dense') => ({
    ...{ class_name: kind, name, config: { name } },
    inbound_nodes: from.map((one) => [[one, 0, 0, {}]]).map((node) => node),
  })
  const graph = (layers: unknown[], output = 'b') => ({
    class_name: 'Functional',
    config: { layers, input_layers: [['i', 0, 0]], output_layers: [[output, 0, 0]] },
  })
  const input = { class_name: 'InputLayer', config: { name: 'i' }, inbound_nodes: [] }
  const refused = (model: unknown, message: RegExp) =>
    throwsWith(t, () => topologyOf(model, true), Error, message)
  const [a, b] = [layer('a', ['i']), layer('b', ['a'])]
  t.is(
    topologyOf(graph([b, input, a]), true)
      .layers.map(({ name }) => name)
      .join(),
    'a,b',
  )
  refused(graph([input, a, b, layer('c', ['a'])]), /both 'b' and 'c' take the output of 'a'/)
  refused(graph([input, layer('a', ['i', 'i']), b]), /'a' is used 2 times/)
  refused(graph([input, a, b], 'a'), /its output is not that of its last layer/)
  refused(graph([input, layer('a', ['b']), b]), /not all layers lie between/)
  refused(graph([layer('a', ['i']), b]), /its input is no layer/)
  refused({ class_name: 'Net', config: {} }, /of the class 'Net'/)
  refused({ class_name: 'Sequential', config: { layers: [a, a] } }, /the same name/)
  refused(5, /the configuration of the model is 5/)
})
