/** The likeliest tags of a chain, some of whose steps may be forbidden. */

/** The scores of a chain, read from the parameters. */
export interface ChainScores {
  start: ArrayLike<number>
  end: ArrayLike<number>
  /** (from, to) */
  transitions: ArrayLike<number>
}

/**
 * The likeliest tags (Viterbi 1967).
 * @param emissions (T, K), from `offset` on
 */
export function likeliestTags(
  emissions: ArrayLike<number>,
  offset: number,
  steps: number,
  count: number,
  { start, end, transitions }: ChainScores,
): number[] {
  let scores = Array.from(
    { length: count },
    (_, k) => (start[k] as number) + (emissions[offset + k] as number),
  )
  const from: Int32Array[] = []
  for (let t = 1; t < steps; t++) {
    const back = new Int32Array(count)
    const next = new Array<number>(count)
    for (let k = 0; k < count; k++) {
      let [best, at] = [-Infinity, 0]
      for (let j = 0; j < count; j++) {
        const score = (scores[j] as number) + (transitions[j * count + k] as number)
        if (score > best) [best, at] = [score, j]
      }
      back[k] = at
      next[k] = best + (emissions[offset + t * count + k] as number)
    }
    from.push(back)
    scores = next
  }
  const last = scores.map((x, k) => x + (end[k] as number))
  let tag = last.indexOf(Math.max(...last))
  const tags = [tag]
  for (let t = from.length - 1; t >= 0; t--) {
    tag = from[t]?.[tag] ?? 0
    tags.push(tag)
  }
  return tags.reverse()
}

/**
 * Scores that forbid what BIO tags cannot mean: an I- tag follows a B- or I- tag of its type only.
 * @param plain of the chain; null: 0 everywhere
 */
export function allowedOnly(tags: readonly string[], plain: ChainScores | null): ChainScores {
  const count = tags.length
  const zero = new Float32Array(count)
  const start = Float64Array.from(plain?.start ?? zero)
  const transitions = Float64Array.from(plain?.transitions ?? new Float32Array(count * count))
  tags.forEach((to, k) => {
    if (!to.startsWith('I-')) return
    start[k] = -1e9
    tags.forEach((before, j) => {
      if (before !== `B-${to.slice(2)}` && before !== to) transitions[j * count + k] = -1e9
    })
  })
  return { start, end: plain?.end ?? zero, transitions }
}
