/** Models of Keras: .keras (an archive with a configuration and weights) and .h5. */
import { checkDevice, type Device } from '../../device.js'
import { checkOptions, checkSignal } from '../../errors.js'
import { fileKind, HEAD_BYTES } from '../../io/file_kind.js'
import { openRegular, parsePlainJson, readAt, readBytes } from '../../io/open_file.js'
import { checkPath } from '../../io/path.js'
import { reason } from '../../io/whole_file.js'
import { ZipFile } from '../../io/zip.js'
import { randomState, setRandomState } from '../../random.js'
import { build } from './build.js'
import { Hdf5 } from './hdf5.js'
import { KerasModel } from './keras_model.js'
import { asObject, type KerasLayer, type Topology, topologyOf } from './topology.js'
import type { Weight } from './weights.js'

const FN = 'models.fromKeras'
/** The HDF5 library holds the file in the memory of WebAssembly. */
const MAX_BYTES = 2 ** 30
const MAX_JSON_BYTES = 2 ** 26

/** What {@link fromKeras} and {@link fromTfjs} take. */
export interface FromKerasOptions {
  /** Where the parameters go. Default: 'cpu'. */
  device?: string | Device
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/** Of another shape of configuration; makes the model. */
export function modelOf(
  topology: Topology,
  weightsOf: (layer: KerasLayer) => readonly Weight[],
): KerasModel {
  const random = randomState()
  try {
    return new KerasModel(build(topology, weightsOf), topology.inputShape)
  } finally {
    setRandomState(random)
  }
}

/** What both functions do around `read`: their arguments, the device, the name of the file in errors. */
export async function fromFile(
  fn: string,
  path: string | URL,
  options: FromKerasOptions,
  read: (file: string, signal: AbortSignal | undefined) => Promise<KerasModel>,
): Promise<KerasModel> {
  checkOptions(fn, options, ['device', 'signal'])
  const device = checkDevice(fn, 'device', options.device ?? 'cpu').toString()
  const signal = checkSignal(fn, options.signal)
  const file = checkPath(fn, 'path', path, 'the path of a file')
  try {
    const model = await read(file, signal)
    return model.to(device)
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`[${fn}] ${file}: ${reason(error)}`, { cause: error })
  }
}

/**
 * Reads a model that Keras saved (`model.save('model.keras')`, or an .h5 with its configuration), as a
 * module that computes and trains as there. HDF5 is read by the package h5wasm, which has to be installed
 * (`npm install h5wasm`).
 *
 * Sequential and functional models of layers one after the other: Input, Embedding (also with
 * mask_zero), LSTM, GRU (both places of the reset), SimpleRNN, Bidirectional, TimeDistributed, Dense,
 * Activation, ReLU, Softmax, Dropout, Masking, LayerNormalization, Flatten, GlobalAveragePooling1D,
 * GlobalMaxPooling1D, Conv1D. Masked sequences, activations other than tanh and sigmoid, and a GRU
 * with reset_after=False are computed step by step, which is slower.
 * @throws (rejects) Error that names the file and what is wrong: missing, damaged, too large, of another
 *   kind; or the layer, its place and what of it is not known
 */
export async function fromKeras(
  path: string | URL,
  options: FromKerasOptions = {},
): Promise<KerasModel> {
  return fromFile(FN, path, options, read)
}

async function read(path: string, signal?: AbortSignal): Promise<KerasModel> {
  const { file, info } = await openRegular(path)
  const head = await readAt(file, 0, Math.min(HEAD_BYTES, info.size)).finally(() => file.close())
  const first = Buffer.from(head.subarray(0, 8)).toString('latin1')
  if (first === '\x89HDF\r\n\x1a\n') {
    const bytes = await readBytes(path, { limit: MAX_BYTES, signal })
    return fromH5(await Hdf5.read(bytes, 'model_weights', signal))
  }
  if (first.startsWith('PK')) return readArchive(path, signal)
  if (first.startsWith('{'))
    throw new Error('it is JSON; a folder of TensorFlow.js is read by models.fromTfjs')
  const kind = fileKind(head, path)
  throw new Error(kind ?? 'it is neither a .keras archive nor an HDF5 file, or it is damaged')
}

async function readArchive(path: string, signal?: AbortSignal): Promise<KerasModel> {
  const zip = await ZipFile.open(path, signal)
  try {
    const part = async (name: string, limit: number): Promise<Uint8Array> => {
      const entry = zip.entries.get(name)
      if (entry === undefined) throw new Error(`it is no model of Keras: '${name}' is not in it`)
      return zip.read(entry, limit)
    }
    const text = Buffer.from(await part('config.json', MAX_JSON_BYTES)).toString('utf8')
    const topology = topologyOf(parsePlainJson(text), false)
    const bytes = await part('model.weights.h5', MAX_BYTES)
    const h5 = await Hdf5.read(bytes, 'layers', signal)
    return modelOf(topology, archived(h5, topology))
  } finally {
    await zip.close()
  }
}

/** 'LayerNormalization' as 'layer_normalization', as Keras names folders. */
function snakeCase(name: string): string {
  return name
    .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toLowerCase()
}

/** Where the parts of layers around layers are. */
const PARTS: Record<string, string[]> = {
  LSTM: ['/cell'],
  GRU: ['/cell'],
  SimpleRNN: ['/cell'],
}

/** The weights of layers in an archive lie under their classes, numbered where several are of one class. */
function archived(h5: Hdf5, { layers }: Topology): (layer: KerasLayer) => Weight[] {
  const used = new Map<string, number>()
  const folders = new Map<string, string>()
  for (const { className, name } of layers) {
    const base = snakeCase(className)
    const count = used.get(base) ?? 0
    used.set(base, count + 1)
    folders.set(name, count === 0 ? base : `${base}_${count}`)
  }
  const inner = (config: unknown): string => String(Object(config).class_name ?? '')
  return ({ className, name, config }) => {
    const folder = `layers/${folders.get(name)}`
    const own = h5.text(`${folder}/vars`, 'name')
    if (own !== null && own !== name)
      throw new Error(`its weights are those of another layer, '${own}'`)
    const parts =
      className === 'Bidirectional'
        ? ['forward_layer', 'backward_layer'].map((part) => [part, inner(config.layer)])
        : className === 'TimeDistributed'
          ? [['layer', inner(config.layer)]]
          : [['', className]]
    return parts.flatMap(([part, kind]) =>
      [folder + (part && `/${part}`)].flatMap((at) => [
        ...h5.vars(at),
        ...(PARTS[kind as string] ?? []).flatMap((more) => h5.vars(at + more)),
      ]),
    )
  }
}

/** An .h5 has the configuration as a text, and for each layer the names of its weights in order. */
function fromH5(h5: Hdf5): KerasModel {
  const config = h5.text('', 'model_config')
  if (config === null)
    throw new Error(
      'it has weights alone, without the configuration of the model: save the whole model (model.save)',
    )
  const version = h5.text('', 'keras_version') ?? ''
  const topology = topologyOf(
    asObject(parsePlainJson(config), 'its configuration'),
    !/^3\./.test(version),
  )
  return modelOf(topology, ({ name }) => {
    const folder = `model_weights/${name}`
    const names = h5.texts(folder, 'weight_names') ?? []
    return names.map((weight) => h5.weight(`${folder}/${weight}`))
  })
}
