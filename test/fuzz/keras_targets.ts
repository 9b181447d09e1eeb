/** Models of Keras and TensorFlow.js. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { models, synchronize, Tensor, zeros } from 'fused-rnn'
import { zipped } from '../../dist/io/zip_writer.js'
import { patience } from '../../dist/models/keras/hdf5.js'
import { expectClear, join0, parts, type Target, write } from './target.js'

// A damaged file may send the HDF5 library into a loop: that is known.
patience.milliseconds = 5000

const CLEAR = /^\[[\w. ]+\] /

/** Runs a model that was read, or takes a clear error. */
async function computes(reading: Promise<models.KerasModel>): Promise<void> {
  try {
    const read = await reading
    const shape = (read.inputShape ?? [1, 5, 2]).map((size) => Math.min(size ?? 2, 64))
    const output = read.forward<Tensor | readonly [Tensor, Tensor]>(zeros(shape))
    await (output instanceof Tensor ? output : output[0]).data()
  } catch (error) {
    expectClear(error, CLEAR)
  }
  await synchronize().catch((error) => expectClear(error, CLEAR))
}

// ---- TensorFlow.js: model.json, and the values -----------------------------------------------------

/** What Keras writes of how a layer began is not read. */
const slim = (text: string): string =>
  JSON.stringify(JSON.parse(text), (key, value) =>
    /_(initializer|regularizer|constraint)$/.test(key) ? undefined : value,
  )

export const tfjs: Target = {
  async seeds() {
    const fixtures = new URL('../../test/fixtures/tfjs/', import.meta.url)
    return Promise.all(
      ['text', 'pooled', 'functional'].map(async (name) => {
        const json = await readFile(new URL(`${name}/model.json`, fixtures), 'utf8')
        const values = await readFile(new URL(`${name}/weights.bin`, fixtures))
        return join0([Buffer.from(slim(json)), values])
      }),
    )
  },
  async run(input, folder) {
    const [json, values] = parts(input, 1) as [Buffer, Buffer]
    write(folder, { 'model.json': json, 'weights.bin': values })
    await computes(models.fromTfjs(join(folder, 'model.json')))
  },
  repair: (input) => input,
}

// ---- Keras: an archive of the configuration and an HDF5 file, or an HDF5 file with both ---------------

type Arrays = Record<string, number[]>

/** An HDF5 file. @param names of the weights, for files with a configuration */
async function hdf5File(
  arrays: Arrays,
  config: object | null,
  names: Record<string, string[]> = {},
): Promise<Uint8Array> {
  const { default: library } = await import('h5wasm')
  const { FS } = await library.ready
  const path = '/seed.h5'
  const file = new library.File(path, 'w')
  if (config !== null) file.create_attribute('model_config', JSON.stringify(config))
  const groups = new Set<string>()
  const within = (at: string): void => {
    const above = at.split('/').slice(0, -1)
    for (let depth = 1; depth <= above.length; depth++) {
      const group = above.slice(0, depth).join('/')
      if (!groups.has(group)) file.create_group(group)
      groups.add(group)
    }
  }
  for (const [at, shape] of Object.entries(arrays)) {
    within(at)
    const data = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.25)
    // One is in pieces that are compressed.
    const packed = shape.length === 1 && { chunks: shape, compression: 1 }
    file.create_dataset({ name: at, data, shape, ...packed })
  }
  for (const [at, list] of Object.entries(names)) {
    const group = file.get(at)
    if (group instanceof library.Group) group.create_attribute('weight_names', list)
  }
  file.close()
  const bytes = FS.readFile(path)
  FS.unlink(path)
  return bytes
}

const layer = (kind: string, name: string, config: object): object => ({
  ...{ class_name: kind, config: { name, ...config } },
})
const sequential = (...layers: object[]): object => ({
  class_name: 'Sequential',
  config: {
    name: 's',
    layers: [layer('InputLayer', 'i', { batch_shape: [null, 2, 1] }), ...layers],
  },
})
const GRU = layer('GRU', 'g', { units: 1, activation: 'tanh', reset_after: true })
const DENSE = layer('Dense', 'd', { units: 2, activation: 'softmax' })
const BOTH = layer('Bidirectional', 'b', {
  layer: layer('LSTM', 'l', { units: 1, activation: 'tanh', recurrent_activation: 'sigmoid' }),
  merge_mode: 'concat',
})

export const keras: Target = {
  longest: 24_576,
  async seeds() {
    const lstm = (at: string): Arrays =>
      Object.fromEntries(
        [[1, 4], [1, 4], [4]].map((shape, i) => [
          `layers/bidirectional/${at}/cell/vars/${i}`,
          shape,
        ]),
      )
    const gru = { 'layers/gru/cell/vars/0': [1, 3], 'layers/gru/cell/vars/1': [1, 3] }
    const dense = { 'layers/dense/vars/0': [1, 2], 'layers/dense/vars/1': [2] }
    const made: [object, Arrays][] = [
      [sequential(DENSE), dense],
      [sequential(GRU, DENSE), { ...gru, 'layers/gru/cell/vars/2': [2, 3], ...dense }],
      [sequential(BOTH), { ...lstm('forward_layer'), ...lstm('backward_layer') }],
    ]
    return Promise.all(
      made.map(async ([config, arrays]) =>
        join0([Buffer.from(JSON.stringify(config)), await hdf5File(arrays, null)]),
      ),
    )
  },
  async run(input, folder) {
    const [json, weights] = parts(input, 1) as [Buffer, Buffer]
    const archive = zipped([
      { name: 'config.json', bytes: json },
      { name: 'model.weights.h5', bytes: weights },
    ])
    write(folder, { 'model.keras': Buffer.concat([...archive]) })
    await computes(models.fromKeras(join(folder, 'model.keras')))
  },
  repair: (input) => input,
}

export const hdf5: Target = {
  longest: 24_576,
  async seeds() {
    const at = 'model_weights/d/d'
    const names = { 'model_weights/d': ['d/kernel', 'd/bias'] }
    const dense = await hdf5File(
      { [`${at}/kernel`]: [1, 2], [`${at}/bias`]: [2] },
      sequential(DENSE),
      names,
    )
    return [dense]
  },
  async run(input, folder) {
    write(folder, { 'model.h5': input })
    await computes(models.fromKeras(join(folder, 'model.h5')))
  },
  // The first bytes say what it is.
  repair: (input) => Buffer.concat([Buffer.from('\x89HDF\r\n\x1a\n', 'latin1'), input.subarray(8)]),
}
