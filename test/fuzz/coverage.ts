/** What code has run for the first time: V8's own block coverage, asked after every run. */
import { type Profiler, Session } from 'node:inspector'

export class Coverage {
  readonly #session = new Session()
  readonly #scripts: RegExp
  /** How many blocks have been new so far. */
  blocks = 0

  /** @param scripts whose code counts, by address */
  constructor(scripts: RegExp) {
    this.#scripts = scripts
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  readonly #seen = new Set<string>()

  /** Whether anything has run, or run more often by an order of magnitude, than ever before. */
  isNew(): boolean {
    const before = this.blocks
    // The answer comes before this returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, { result }) => {
      if (error === null) for (const script of result) this.#add(script)
    })
    return this.blocks > before
  }

  #add({ url, functions }: Profiler.ScriptCoverage): void {
    if (!this.#scripts.test(url)) return
    for (const { ranges } of functions)
      for (const { startOffset, endOffset, count } of ranges) {
        if (count === 0) continue
        const place = `${url}:${startOffset}-${endOffset}:${Math.floor(Math.log2(count))}`
        if (this.#seen.has(place)) continue
        this.#seen.add(place)
        this.blocks++
      }
  }
}
