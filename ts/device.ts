/** Devices: where a tensor's memory is and its operations run. */
import { binding } from './binding.js'
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

  toString(): string {
    return this.type === 'cpu' ? 'cpu' : `${this.type}:${this.index}`
  }
}

/** What {@link devices} tells of one device. */
export interface DeviceInfo {
  /** `'cpu'`, `'cuda:0'`, … */
  name: string
  /** For the CPU: the instruction set in use and the number of threads. */
  description: string
}

const CPU = new Device('cpu', 0)

/**
 * Names a device: `'cpu'`, `'cuda'`, `'cuda:1'`; a Device passes through.
 * @throws TypeError for an unknown name; RangeError when the build or machine has no such device
 */
export function device(name: string | Device): Device {
  return checkDevice('device', 'name', name)
}

/** The device that an argument of a public function names. */
export function checkDevice(fn: string, name: string, value: unknown): Device {
  if (value instanceof Device) return value
  if (value === 'cpu') return CPU
  if (typeof value === 'string' && /^cuda(:\d+)?$/.test(value)) {
    throw rangeError(fn, name, "'cpu'", `'${value}': fused-rnn was built without CUDA`)
  }
  throw typeError(fn, name, "'cpu', 'cuda' or 'cuda:N'", value)
}

/** The devices of this machine. */
export function devices(): DeviceInfo[] {
  const info = binding.info()
  return [
    {
      name: 'cpu',
      description: `${info.isa}, ${info.threads} thread${info.threads === 1 ? '' : 's'}`,
    },
  ]
}

/**
 * Settles when everything queued so far has run.
 * @throws (rejects) with the first failure of a queued operation.
 */
export function synchronize(on?: string | Device): Promise<void> {
  if (on !== undefined) checkDevice('synchronize', 'on', on)
  return settled()
}

/** Threads that the kernels use; as `torch.set_num_threads`. Results are the same bits for the same count. */
export function setNumThreads(threads: number): void {
  binding.setThreads(checkInteger('setNumThreads', 'threads', threads, 1, 1024))
}

/** As `torch.get_num_threads`. */
export function getNumThreads(): number {
  return binding.info().threads
}

async function settled(): Promise<void> {
  return binding.synchronize()
}
