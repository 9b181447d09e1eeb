/** A program of this folder in a process of its own, which never outlives its time. */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** How a process ended. */
export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** It had to be killed. */
  hung: boolean
}

export interface Child {
  process: ChildProcess
  /** Settles when it has printed this line, or has ended. */
  printed(line: string): Promise<void>
  finished: Promise<Finished>
}

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/**
 * Runs programs/`name`.js with `node`, a path to the binary.
 * @param seconds after which it counts as hung and is killed
 */
export function start(
  node: string,
  name: string,
  args: string[],
  seconds: number,
  options: { env?: Record<string, string>; flags?: string[] } = {},
): Child {
  const program = fileURLToPath(new URL(`./programs/${name}.js`, import.meta.url))
  const child = spawn(node, [...(options.flags ?? []), program, ...args], {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let stdout = ''
  let stderr = ''
  let hung = false
  const waiters: [string, () => void][] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
    for (const [line, resolve] of waiters) if (stdout.split('\n').includes(line)) resolve()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-4000)
  })
  const timer = setTimeout(() => {
    hung = true
    child.kill('SIGKILL')
  }, 1000 * seconds)
  const finished = new Promise<Finished>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      running.delete(child)
      clearTimeout(timer)
      resolve({ code, signal, stdout, stderr, hung })
    })
  })
  const printed = (line: string): Promise<void> =>
    new Promise((resolve) => {
      waiters.push([line, resolve])
      void finished.then(() => resolve())
    })
  return { process: child, printed, finished }
}

/** Its last line of JSON. @throws when it failed, with what it said */
export async function answer<T>(child: Child): Promise<T> {
  const { code, signal, stdout, stderr, hung } = await child.finished
  const last = stdout.trim().split('\n').at(-1) ?? ''
  if (code === 0 && last.startsWith('{')) return JSON.parse(last) as T
  throw new Error(`${hung ? 'hung' : `ended with ${signal ?? code}`}: ${stderr.trim() || stdout}`)
}
