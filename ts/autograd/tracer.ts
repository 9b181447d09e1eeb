/** What JavaScript's thread does while a profile runs. */

/** Something that took time on JavaScript's thread; milliseconds of `performance.now()`. */
export interface Range {
  readonly name: string
  /** A call of the addon, an operation's backward, or what the user named. */
  readonly kind: 'call' | 'backward' | 'range'
  readonly begin: number
  readonly end: number
}

/** So many are kept; what comes later is counted. */
const MOST_RANGES = 2 ** 20

/** Where ranges go while a profile runs. */
export class Tracer {
  readonly ranges: Range[] = []
  dropped = 0

  time<T>(kind: Range['kind'], name: string, f: () => T): T {
    const begin = performance.now()
    try {
      return f()
    } finally {
      if (this.ranges.length < MOST_RANGES)
        this.ranges.push({ name, kind, begin, end: performance.now() })
      else this.dropped++
    }
  }
}

let current: Tracer | null = null

/** The profile that runs now, or null. */
export function tracerNow(): Tracer | null {
  return current
}

export function setTracer(tracer: Tracer | null): void {
  current = tracer
}
