/** Devices: where a tensor's memory is and its operations run. */
import { binding, type CudaInfo } from './binding.js'
import { checkInteger, rangeError, typeError } from './errors.js'

/** A device, as in `torch.device`. */
export class Device {
  /** 'cpu' or 'cuda'. */
  readonly type: string
  readonly index: number

  /** Use {@link device}. */
  constructor(type: string, index: number) {
    this.type = type
    this.index = index
  }

  /** Its name: 'cpu', 'cuda:0', … */
  toString(): string {
    return this.type === 'cpu' ? 'cpu' : `${this.type}:${this.index}`
  }
}

/** What {@link devices} tells of one device. */
export interface DeviceInfo {
  /** `'cpu'`, `'cuda:0'`, … */
  name: string
  /** For the CPU the instruction set in use and the number of threads; for a GPU its model. */
  description: string
  /** A GPU's memory. */
  memoryBytes?: number
  /** A GPU's, as `[9, 0]`. */
  computeCapability?: readonly [major: number, minor: number]
}

/** Bytes of a device's memory that tensors and operations have; of all worker threads together. */
export interface MemoryStats {
  /** In use now. */
  allocated: number
  /** The most ever in use. */
  peak: number
  /** Kept to be used again. */
  cached: number
  /** How many blocks are in use: tensors' and operations' own. */
  buffers: number
}

const CPU = new Device('cpu', 0)
let gpus: CudaInfo | null = null
let current = CPU
/** The CPU and the GPUs that have been asked for, by number. */
const asked = new Set([-1])

/** The same: -1 is the CPU. Internal. */
export function devicesInUse(): number[] {
  return [...asked]
}

function cuda(): CudaInfo {
  gpus ??= binding.cuda()
  return gpus
}

/**
 * Names a device: `'cpu'`, `'cuda'` (the first GPU), `'cuda:1'`; a Device passes through.
 * @throws TypeError for an unknown name; RangeError when the build or machine has no such device
 */
export function device(name: string | Device): Device {
  return checkDevice('device', 'name', name)
}

/** The device that an argument of a public function names. */
export function checkDevice(fn: string, name: string, value: unknown): Device {
  if (value === CPU || value === 'cpu') return CPU
  const text = value instanceof Device ? value.toString() : value
  const match = typeof text === 'string' ? /^(?:cpu|cuda(?::(\d+))?)$/.exec(text) : null
  if (match === null) throw typeError(fn, name, "'cpu', 'cuda' or 'cuda:N'", value)
  if (text === 'cpu') return CPU
  const index = Number(match[1] ?? 0)
  const { devices, missing } = cuda()
  if (devices.length === 0) throw rangeError(fn, name, "'cpu'", `'${text}': ${missing}`)
  if (index >= devices.length) {
    const there = devices.length === 1 ? 'is 1 GPU' : `are ${devices.length} GPUs`
    const expected = ['cpu', ...devices.map((_, i) => `cuda:${i}`)].map((one) => `'${one}'`)
    throw rangeError(fn, name, expected.join(' or '), `'${text}': there ${there}`)
  }
  asked.add(index)
  return new Device('cuda', index)
}

/** The name of the device that an option asks for; of the default one when it is left out. */
export function deviceOption(fn: string, value: unknown): string {
  return value === undefined ? defaultName : checkDevice(fn, 'device', value).toString()
}

/** A device's number on the native side, by its full name. */
export function deviceNumber(name: string): number {
  return name === 'cpu' ? -1 : Number(name.slice('cuda:'.length))
}

/** Checks that a tensor, if there is one, is on the device where the others are. */
export function checkSameDevice(
  fn: string,
  name: string,
  tensor: { readonly device: string } | null | undefined,
  device: string,
): void {
  if (tensor && tensor.device !== device)
    throw rangeError(fn, name, `a tensor on ${device}`, `one on ${tensor.device}`)
}

let defaultName = 'cpu'

/**
 * Where tensors and modules are made that name no device; as `torch.set_default_device`.
 * @throws TypeError, RangeError
 */
export function setDefaultDevice(device: string | Device): void {
  current = checkDevice('setDefaultDevice', 'device', device)
  defaultName = current.toString()
}

/** As `torch.get_default_device`. */
export function getDefaultDevice(): Device {
  return current
}

/** The devices of this machine that can be used. */
export function devices(): DeviceInfo[] {
  const { isa, threads } = binding.info()
  return [
    { name: 'cpu', description: `${isa}, ${threads} thread${threads === 1 ? '' : 's'}` },
    ...cuda().devices.map(
      ({ name, memoryBytes, major, minor }, i): DeviceInfo => ({
        name: `cuda:${i}`,
        description: name,
        memoryBytes,
        computeCapability: [major, minor],
      }),
    ),
  ]
}

/**
 * What a device's memory is used for; as `torch.cuda.memory_allocated` and its like.
 * @param on default: the default device
 */
export function memoryStats(on?: string | Device): MemoryStats {
  const name = on === undefined ? defaultName : checkDevice('memoryStats', 'on', on).toString()
  const { liveBytes, peakBytes, cachedBytes, liveBuffers } = binding.memory(deviceNumber(name))
  return { allocated: liveBytes, peak: peakBytes, cached: cachedBytes, buffers: liveBuffers }
}

/**
 * Settles when everything queued so far has run, on one device or on all.
 * @throws (rejects) with the first failure of a queued operation.
 */
export function synchronize(on?: string | Device): Promise<void> {
  if (on === undefined) return settled([...asked])
  return settled([deviceNumber(checkDevice('synchronize', 'on', on).toString())])
}

/**
 * Threads that the kernels use; as `torch.set_num_threads`. At the start: FUSED_RNN_NUM_THREADS, else
 * OMP_NUM_THREADS, else the processors that this process may use (affinity, control groups). More
 * than those are not started, whatever is set here. Results are the same bits for the same count.
 */
export function setNumThreads(threads: number): void {
  binding.setThreads(checkInteger('setNumThreads', 'threads', threads, 1, 1024))
}

/** As `torch.get_num_threads`. */
export function getNumThreads(): number {
  return binding.info().threads
}

async function settled(numbers: readonly number[]): Promise<void> {
  if (numbers.length === 1) return binding.synchronize(numbers[0] as number)
  await Promise.all(numbers.map(async (number) => binding.synchronize(number)))
}
