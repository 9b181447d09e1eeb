/** Who holds a lock: a thread of a process of a machine, and whether it is still there. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

const FORMAT = 'fused-rnn lock'

/** What a lock's file says. */
export interface Owner {
  format: typeof FORMAT
  /** Another one for each lock. */
  token: string
  /** What it is held for, for messages. */
  what: string
  pid: number
  /** The thread's number in the system; null where that is not known. */
  thread: number | null
  /** When the thread began, as the system counts; null where that is not known. */
  started: string | null
  host: string
  /** The machine, its start and its space of process numbers: within it, numbers mean the same. */
  machine: string
  /** When the lock was taken. */
  since: string
}

/** The state and the start of a thread; null: there is none, or it may not be seen. */
function stateOf(pid: number, thread: number): { state: string; started: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8')
    // The name of the program, in parentheses, may have any character.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', started: fields[19] ?? '' }
  } catch {
    return null
  }
}

const read = (what: () => string): string => {
  try {
    return what().trim()
  } catch {
    return ''
  }
}

let self: Pick<Owner, 'pid' | 'thread' | 'started' | 'host' | 'machine'> | null = null

/** This thread, as Linux has it; elsewhere only the process. */
function thisThread(): NonNullable<typeof self> {
  if (self !== null) return self
  const host = hostname()
  const boot = read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'))
  const space = read(() => readlinkSync('/proc/self/ns/pid'))
  const number = /^(\d+)\/task\/(\d+)$/.exec(read(() => readlinkSync('/proc/thread-self')))
  const { pid } = process
  // Another number: this /proc is not of this process's own space of numbers.
  const thread = number !== null && Number(number[1]) === pid ? Number(number[2]) : null
  const started = thread === null ? null : (stateOf(pid, thread)?.started ?? null)
  self = { pid, thread, started, host, machine: `${host} ${boot} ${space}` }
  return self
}

export function newOwner(token: string, what: string): Owner {
  return { format: FORMAT, token, what, ...thisThread(), since: new Date().toISOString() }
}

const machineHash = (): string =>
  createHash('sha256').update(thisThread().machine).digest('hex').slice(0, 8)

/** For the names of files that are there for a moment. */
export function threadName(): string {
  return `${machineHash()}.${process.pid}`
}

/** Whether a name, from {@link threadName} on, is of a process that has ended. */
export function isDeadName(name: string): boolean {
  const [, machine, pid] = /^([0-9a-f]{8})\.(\d+)\.[0-9a-f]{16}\.tmp$/.exec(name) ?? []
  if (machine !== machineHash()) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** The owner that a lock's text names; null: it is not the text of a lock. */
export function parseOwner(text: string): Owner | null {
  try {
    const owner = JSON.parse(text) as Owner
    return owner?.format === FORMAT && Number.isSafeInteger(owner.pid) && owner.pid > 0
      ? owner
      : null
  } catch {
    return null
  }
}

/**
 * Undefined: it cannot be told from here. So it is where threads cannot be seen, outside of Linux:
 * another process may have the number by now.
 */
export function isAlive(owner: Owner): boolean | undefined {
  const { pid, thread, started, machine } = owner
  const own = thisThread()
  if (machine !== own.machine) return undefined
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  if (thread === null || own.thread === null) return undefined
  const found = stateOf(pid, thread)
  if (found === null) return !existsSync(`/proc/${pid}/task`)
  return found.started === started && !['Z', 'X'].includes(found.state)
}

/** For messages: "process 12 on 'host', since …". */
export function nameOf({ pid, host, since, what }: Owner): string {
  const own = thisThread()
  const who = pid === own.pid && host === own.host ? 'this process' : `process ${pid} on '${host}'`
  return `${what} of ${who}, since ${since},`
}
