/**
 * Model files that say they are larger than they are, that grow when they are unpacked, that name other
 * files, or that send a library into a loop: an error each, before memory is taken. Those of PyTorch's
 * files are in torch-files.test.ts, those of safetensors and folders in files.test.ts.
 */
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deflateRawSync } from 'node:zlib'
import test from 'ava'
import { memoryStats, models, nn, onnx, tensor } from 'fused-rnn'
import { patience } from '../dist/models/keras/hdf5.js'
import { closeTo, onCpu, rejectsWith } from './helpers.js'

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../test/fixtures/keras/${name}`, import.meta.url))
let folder: string
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fused-rnn-limits-'))
})
test.after.always(() => rm(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
// Files go through the CPU on every device.
const serial = onCpu ? test.serial : test.serial.skip

/** What the process may grow by: less than any of the sizes that the files claim. */
const LITTLE = 300e6
async function takesLittle(
  t: { true(value: boolean, what: string): void },
  f: () => Promise<void>,
) {
  const before = [process.memoryUsage.rss(), memoryStats().peak] as const
  await f()
  const grown = process.memoryUsage.rss() - before[0]
  t.true(grown < LITTLE, `${grown} bytes more`)
  t.true(memoryStats().peak - before[1] < LITTLE, 'tensors')
}

interface Packed {
  name: string
  bytes: Buffer
  /** What the directory says of the size; default: what is true. */
  says?: number
}

/** An archive whose files are compressed, with what its directory says. */
function archive(...files: Packed[]): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let place = 0
  for (const { name, bytes, says = bytes.length } of files) {
    const packed = deflateRawSync(bytes)
    const fields = Buffer.alloc(26)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(8, 4)
    fields.writeUInt32LE(packed.length, 14)
    fields.writeUInt32LE(says, 18)
    fields.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), packed])
    const more = Buffer.alloc(14)
    more.writeUInt32LE(place, 10)
    directory.push(
      Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, more, Buffer.from(name)]),
    )
    parts.push(local)
    place += local.length
  }
  const entries = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.write('PK\x05\x06')
  end.writeUInt16LE(files.length, 8)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(entries.length, 12)
  end.writeUInt32LE(place, 16)
  return Buffer.concat([...parts, entries, end])
}

const CONFIG = Buffer.from(
  JSON.stringify({
    class_name: 'Sequential',
    config: {
      name: 's',
      layers: [
        { class_name: 'InputLayer', config: { name: 'i', batch_shape: [null, 2] } },
        { class_name: 'Dense', config: { name: 'd', units: 1 } },
      ],
    },
  }),
)

serial('.keras: archives that grow when they are unpacked, or say what is not true', async (t) => {
  const zeros = Buffer.alloc(2 ** 27)
  const refused = async (message: RegExp, ...files: Packed[]): Promise<void> => {
    await writeFile(at('a.keras'), archive(...files))
    await rejectsWith(t, models.fromKeras(at('a.keras')), Error, message)
  }
  const weights = (says?: number): Packed => ({
    ...{ name: 'model.weights.h5', bytes: Buffer.alloc(100) },
    ...(says !== undefined && { says }),
  })
  await takesLittle(t, async () => {
    await refused(
      /'config\.json' has \d+ bytes, more than/,
      { name: 'config.json', bytes: zeros },
      weights(),
    )
    await refused(
      /'config\.json' cannot be unpacked/,
      { name: 'config.json', bytes: zeros, says: 100 },
      weights(),
    )
    const config = { name: 'config.json', bytes: CONFIG }
    await refused(/'model\.weights\.h5' has 4000000000 bytes, more than/, config, weights(4e9))
    await refused(/'model\.weights\.h5' has another length/, config, weights(2 ** 20))
    await refused(/HDF5 file cannot be read: it is damaged/, config, weights())
    await refused(/'model\.weights\.h5' is not in it/, config)
    // Names are looked up, never written: one that leaves the folder is a name like any other.
    await refused(
      /'config\.json' is not in it/,
      { name: '../config.json', bytes: CONFIG },
      weights(),
    )
  })
})

serial('HDF5: arrays that are larger than the file can be, groups in themselves', async (t) => {
  const { default: h5 } = await import('h5wasm')
  const { FS } = await h5.ready
  const write = async (name: string, fill: (file: InstanceType<typeof h5.File>) => void) => {
    const file = new h5.File('/test.h5', 'w')
    file.create_attribute('model_config', CONFIG.toString())
    fill(file)
    file.close()
    await writeFile(at(name), FS.readFile('/test.h5'))
  }
  const names = ['d/kernel', 'd/bias']
  await write('large.h5', (file) => {
    const group = file.create_group('model_weights').create_group('d')
    group.create_attribute('weight_names', names)
    const inner = group.create_group('d')
    const one = { data: new Float32Array(4), chunks: [4], maxshape: [null] }
    inner.create_dataset({ name: 'kernel', shape: [4], compression: 4, ...one })
    const kernel = file.get('model_weights/d/d/kernel')
    if (!(kernel instanceof h5.Dataset)) throw new Error('no array')
    kernel.resize([2 ** 30])
  })
  await takesLittle(t, () =>
    rejectsWith(
      t,
      models.fromKeras(at('large.h5')),
      Error,
      /^\[models\.fromKeras\] .*large\.h5: layer 1 of 1, 'd' \(Dense\): its weight 'model_weights\/d\/d\/kernel' of shape \[1073741824\] is too large for the file/,
    ),
  )
  await write('circle.h5', (file) => {
    const group = file.create_group('model_weights')
    group.create_group('d').create_attribute('weight_names', names)
    file.create_hard_link?.('/model_weights', '/model_weights/again')
    file.create_soft_link('/model_weights', '/model_weights/d/again')
    file.create_external_link('/etc/passwd', '/', '/model_weights/d/d')
  })
  await rejectsWith(t, models.fromKeras(at('circle.h5')), Error, /'d' \(Dense\)|more than|damaged/)
})

serial('HDF5: a file over which the library does not end, also by a signal', async (t) => {
  const before = patience.milliseconds
  t.teardown(() => {
    patience.milliseconds = before
  })
  patience.milliseconds = 1500
  // Found by fuzzing; see hdf5_thread.ts.
  const reading = models.fromKeras(fixture('endless.h5'))
  await rejectsWith(t, reading, Error, /endless\.h5: .*the HDF5 library does not come to an end/)
  patience.milliseconds = before
  const stop = new AbortController()
  const stopped = models.fromKeras(fixture('endless.h5'), { signal: stop.signal })
  setTimeout(() => stop.abort(new Error('enough')), 100)
  await rejectsWith(t, stopped, Error, /^enough$/)
})

serial('the event loop goes on while HDF5 is read', async (t) => {
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await models.fromKeras(fixture('text.h5'))
  clearInterval(timer)
  t.true(turns > 0)
})

serial('TensorFlow.js: files of weights that are longer than they may be', async (t) => {
  const source = new URL('../test/fixtures/tfjs/pooled/', import.meta.url)
  await mkdir(at('tfjs'))
  await writeFile(at('tfjs/model.json'), await readFile(new URL('model.json', source)))
  await writeFile(at('tfjs/weights.bin'), '')
  await truncate(at('tfjs/weights.bin'), 3e9)
  await takesLittle(t, () =>
    rejectsWith(t, models.fromTfjs(at('tfjs/model.json')), Error, /weights\.bin|more than|bytes/),
  )
  await truncate(at('tfjs/model.json'), 2 ** 27)
  await takesLittle(t, () =>
    rejectsWith(t, models.fromTfjs(at('tfjs/model.json')), Error, /more than/),
  )
})

/** A model whose graph is written by a function. */
class Written extends nn.Module {
  readonly #write: (graph: onnx.Graph, x: onnx.Value) => onnx.Value

  constructor(write: (graph: onnx.Graph, x: onnx.Value) => onnx.Value) {
    super()
    this.#write = write
  }

  override forward(): void {}

  toOnnx(graph: onnx.Graph): void {
    graph.output('y', this.#write(graph, graph.input('x', 'float32', null)), 'float32', null)
  }
}

serial('ONNX: sizes that the file has not, or that operators make', async (t) => {
  const path = at('model.onnx')
  await writeFile(path, Buffer.of(8))
  await truncate(path, 2 ** 31)
  await takesLittle(t, () => rejectsWith(t, onnx.load(path), Error, /more than|limit/))
  // The weight 'w' of one element says that it has 2^40: of its shape, byte 1 is the size.
  const one = new Written((graph, x) => graph.node('Add', [x, graph.weight(tensor([1]), 'w')]))
  const bytes = Buffer.from(await onnx.serialize(one))
  const name = bytes.indexOf(Buffer.from([0x42, 1, 0x77])) // TensorProto.name
  const dims = bytes.lastIndexOf(Buffer.from([0x08, 1]), name)
  t.true(name > 0 && dims > 0)
  const changed = Buffer.from(bytes)
  changed[dims + 1] = 0x7f
  await writeFile(path, changed)
  await rejectsWith(t, onnx.load(path), Error, /damaged: weight 'w' of shape \(127\) has 4 bytes/)
  await writeFile(path, bytes)
  const loaded = await onnx.load(path)
  await closeTo(t, loaded.forward(tensor([1])), tensor([2]), 0)
  const far = 2 ** 40
  const huge: [string, (g: onnx.Graph, x: onnx.Value) => onnx.Value][] = [
    ['ConstantOfShape', (g) => g.node('ConstantOfShape', [g.ints(far)])],
    ['Expand', (g, x) => g.node('Expand', [x, g.ints(far, 2)])],
    ['Range', (g) => g.node('Range', [g.ints(0), g.ints(far), g.ints(1)])],
    ['Reshape', (g, x) => g.node('Reshape', [x, g.ints(far, far)])],
  ]
  for (const [what, write] of huge) {
    await onnx.export(new Written(write), path)
    const model = await onnx.load(path)
    await takesLittle(t, async () => {
      t.throws(
        () => model.forward(tensor([1])),
        { message: new RegExp(`^\\[onnx\\] .*${what}`) },
        what,
      )
    })
  }
})
