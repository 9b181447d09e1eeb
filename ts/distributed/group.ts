/** The processes that train together: joining them, leaving them, and how a process ends. */
import { writeSync } from 'node:fs'
import { inspect } from 'node:util'
import { binding } from '../binding.js'
import { checkNumber, checkOneOf, checkOptions, rangeError } from '../errors.js'

/** What carries the messages: 'mpi', or 'nccl' between GPUs and MPI between CPUs. */
export type DistributedBackend = 'mpi' | 'nccl'

/** What init takes. */
export interface InitOptions {
  /** Default 'mpi'. */
  backend?: DistributedBackend
  /**
   * How long a collective may wait for the other processes, in **milliseconds**, at least 1000; as the
   * `timeout` (a timedelta) of `torch.distributed.init_process_group`. Infinity: for ever. Default
   * 1,800,000, which is 30 minutes. It has to be longer than whatever one process does alone while
   * the others wait for it.
   */
  timeout?: number
}

const DEFAULT_TIMEOUT = 30 * 60_000

const BACKENDS = ['mpi', 'nccl'] as const

/** As `torch.distributed.is_available`: whether there is an MPI to be opened. */
export function isAvailable(): boolean {
  return binding.mpi().missing === ''
}

/** As `torch.distributed.is_nccl_available`: whether there is an NCCL to be opened, and a CUDA in this build. */
export function isNcclAvailable(): boolean {
  return binding.ncclMissing() === ''
}

/** The backend for a model on this device. */
export function backendFor(device: string | null): DistributedBackend {
  return device?.startsWith('cuda') && isNcclAvailable() ? 'nccl' : 'mpi'
}

/** Whether this process has joined the others; as `torch.distributed.is_initialized`. */
export function isInitialized(): boolean {
  return binding.group() !== null
}

/**
 * Joins the processes that `mpirun` has started with this one; as
 * `torch.distributed.init_process_group`. Without mpirun the process is alone, rank 0 of 1.
 *
 * From then on a process that ends with an error ends all others, within a second; one that ends
 * well waits for them. When a process is gone without a word (a cut network, a machine that is
 * down), or does not come to a collective, each of the others writes the collective, its rank and how
 * long it has waited to standard error after `timeout`, and ends with exit code 1: what awaits the
 * collective rejects before, and the process has ten seconds left then. Time in which a process is
 * stopped, or nothing waits, does not count.
 * @returns a promise that settles when all have called it
 * @param options.backend 'nccl' needs MPI, too: it carries what the processes have to tell each other
 *   before NCCL knows them, and tensors on the CPU. Tensors on a GPU go by NCCL, without the host
 * @param options.timeout milliseconds; see {@link InitOptions}
 * @throws TypeError; RangeError when no MPI is installed, or the process is in a group already
 */
export function init(options: InitOptions = {}): Promise<void> {
  checkOptions('init', options, ['backend', 'timeout'])
  const backend = checkOneOf('init', 'backend', options.backend ?? 'mpi', BACKENDS)
  const timeout = checkTimeout('init', options.timeout ?? DEFAULT_TIMEOUT)
  const missing = backend === 'nccl' ? binding.ncclMissing() : ''
  if (missing !== '') throw rangeError('init', 'backend', "'mpi'", `'nccl': ${missing}`)
  attempt('init', () => binding.joinGroup(backend === 'nccl', timeout / 1000))
  watchExit()
  return joined()
}

/** Seconds given by mistake would end a healthy training. @returns milliseconds */
export function checkTimeout(fn: string, value: unknown): number {
  const timeout = checkNumber(fn, 'timeout', value)
  if (timeout >= 1000) return timeout
  throw rangeError(fn, 'timeout', 'milliseconds, at least 1000', String(timeout))
}

/** For a group that this process may be in already. */
export function changeTimeout(timeout: number): void {
  binding.groupTimeout(timeout / 1000)
}

async function joined(): Promise<void> {
  await binding.synchronize(-1)
}

/**
 * Leaves the others; as `torch.distributed.destroy_process_group`. All have to call it; without it,
 * a process does so when it ends.
 * @returns a promise that settles when all have called it
 * @throws RangeError when the process is in no group
 */
export function destroy(): Promise<void> {
  attempt('destroy', () => binding.leaveGroup())
  return joined()
}

/** This process's number, from 0; as `torch.distributed.get_rank`. @throws TypeError without a group */
export function rank(): number {
  return member('rank')[0]
}

/** How many processes there are; as `torch.distributed.get_world_size`. @throws TypeError without a group */
export function worldSize(): number {
  return member('worldSize')[1]
}

/** Rank and size. @throws TypeError that says how to get into a group */
export function member(fn: string): [rank: number, size: number] {
  const group = binding.group()
  if (group === null)
    throw new TypeError(`[${fn}] this process is in no group: await distributed.init() before`)
  return group
}

/** Calls the native side and puts the function's name before its messages. */
export function attempt<T>(fn: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    throw new RangeError(message.startsWith('[') ? message : `[${fn}] ${message}`, { cause })
  }
}

/** "rank 1 of 4: " where there are several, for messages. */
export function rankPrefix(): string {
  const group = binding.group()
  return group === null || group[1] === 1 ? '' : `rank ${group[0]} of ${group[1]}: `
}

let watching = false

function watchExit(): void {
  if (watching) return
  watching = true
  // Node prints an error after the exit event, in which the group is ended, and this process with it.
  process.on('uncaughtExceptionMonitor', (error) => {
    const prefix = rankPrefix()
    const handled = process.listenerCount('uncaughtException') > 0
    if (prefix !== '' && !handled) writeSync(2, `${prefix}${inspect(error)}\n`)
  })
  // Before the queues are stopped: collectives may be under way.
  process.prependOnceListener('exit', (code) => binding.endGroup(code))
}
