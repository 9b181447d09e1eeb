/** What a check of this folder is told and what it tells. */

export interface Settings {
  /** Node binaries, by version. */
  nodes: { version: string; path: string }[]
  /** Multiplies how often things are tried; 1 is what docs/reliability.md has. */
  scale: number
}

/** A row of the table in docs/reliability.md. */
export interface Row {
  /** What was done. */
  what: string
  /** How often. */
  times: string
  /** What was found. */
  found: string
  /** Whether it met its bar; null: it is not to be judged here. */
  ok: boolean | null
}

export interface Check {
  name: string
  /** A line for --help. */
  about: string
  run(settings: Settings, report: (row: Row) => void): Promise<void>
}

/** How often to try something. */
export const scaled = (times: number, { scale }: Settings): number =>
  Math.max(1, Math.round(times * scale))

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2
}
