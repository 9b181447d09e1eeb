/** A peer's process: started, asked, and never left behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** A peer that does not answer for so long is given up, in ms. */
const PATIENCE = 600_000

/** Why a peer does not take part, in a line. */
export class PeerError extends Error {
  /** The package that it says is not installed. */
  missing: string | null = null
  /** Its program could not be started at all. */
  unstarted = false
}

const running = new Set<ChildProcess>()

/** Ends every process that was started here. */
export function stopAll(): void {
  for (const child of running) child.kill('SIGKILL')
  running.clear()
}

process.on('exit', stopAll)

/** Ctrl-C and its like end all of them, and this process. @param say what to print then */
export function stopOnSignals(say: () => void): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      stopAll()
      say()
      process.exit(130)
    })
  }
}

type Answer = Record<string, unknown>

/** A program that answers lines of JSON with lines of JSON. */
export class Peer {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  /** The end of its standard error, which is only shown when it fails. */
  #errors = ''
  readonly #ended: Promise<PeerError>
  /** Name and version, as it says. */
  title = ''
  /** Peak memory when it was ready, before the first step, in bytes. */
  bytesAtReady: number | null = null

  private constructor(command: string, args: string[]) {
    // The peers' folder is the package's, where Python has nothing to write.
    const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' }
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env })
    running.add(this.#child)
    const { stdin, stdout, stderr } = this.#child
    this.#lines = createInterface({ input: stdout as NodeJS.ReadableStream })[
      Symbol.asyncIterator
    ]()
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4000)
    })
    // Writing to one that has died; reading its answer reports it.
    stdin?.on('error', () => {})
    this.#ended = new Promise((resolve) => {
      this.#child.on('error', (error: NodeJS.ErrnoException) => {
        const why =
          error.code === 'ENOENT' ? 'is not installed' : `cannot be started: ${error.code}`
        resolve(Object.assign(new PeerError(`${command} ${why}`), { unstarted: true }))
      })
      this.#child.on('close', (code, signal) => {
        running.delete(this.#child)
        const last = this.#errors.trim().split('\n').at(-1)?.trim()
        const why = signal === 'SIGKILL' ? 'perhaps there was not enough memory' : last
        resolve(new PeerError(`ended with ${signal ?? `code ${code}`}${why ? `: ${why}` : ''}`))
      })
    })
  }

  /** Starts a program and waits until it is set up. @throws (rejects) PeerError */
  static async start(command: string, args: string[]): Promise<Peer> {
    const peer = new Peer(command, args)
    try {
      const { ready } = await peer.#answer()
      peer.title = String(ready)
      peer.bytesAtReady = peer.peakBytes()
      return peer
    } catch (error) {
      peer.stop()
      throw error
    }
  }

  /** Another workload in the same process. @throws (rejects) PeerError */
  async setUp(workload: unknown): Promise<void> {
    await this.ask('set_up', workload)
  }

  /** Asks, and waits for the answer. @throws (rejects) PeerError */
  ask(request: string, what: unknown): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify({ [request]: what })}\n`)
    return this.#answer()
  }

  /** Peak resident memory so far; null where the system does not say, or too late. */
  peakBytes(): number | null {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'utf8')
      const kilobytes = /^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]
      return kilobytes === undefined ? null : 1024 * Number(kilobytes)
    } catch {
      return null
    }
  }

  stop(): void {
    this.#child.kill('SIGKILL')
  }

  async #answer(): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new PeerError(`no answer for ${PATIENCE / 60_000} minutes`))
      }, PATIENCE)
    })
    try {
      for (;;) {
        const line = await Promise.race([this.#lines.next(), patience])
        if (line.done) throw await this.#ended
        const answer = parse(line.value)
        // Frameworks print notes of their own.
        if (answer === null) continue
        if (typeof answer.missing === 'string') {
          const error = new PeerError(`${answer.missing} is not installed`)
          error.missing = answer.missing
          throw error
        }
        if (typeof answer.unable === 'string') throw new PeerError(answer.unable)
        return answer
      }
    } finally {
      clearTimeout(timer)
    }
  }
}

function parse(line: string): Answer | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as Answer) : null
  } catch {
    return null
  }
}
