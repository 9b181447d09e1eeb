/** The likeliest sequences that a network gives, one token at a time. */

/** How a sequence is looked for. */
export interface BeamOptions {
  /** How many are followed at a time; 1: always the likeliest token. */
  beamSize: number
  /** Scores are divided by the length to this power: above 0, longer sequences are no worse. */
  lengthPenalty: number
  /** Tokens of the longest. */
  maxLength: number
}

/** A sequence that has been found. */
export interface Found {
  tokens: number[]
  /** The logarithm of its probability over its length to the power of the penalty. */
  score: number
  /** Of each token, what {@link Decoder.step} gave beside it. */
  beside: ArrayLike<number>[]
}

/** Gives log probabilities of what comes next. */
export interface Decoder {
  /**
   * One token further.
   * @param rows of the step before that go on (a row may go on several times); null: the first step
   * @param tokens of each row
   * @returns log probabilities (rows, V), and of each row something to keep (attention)
   */
  step(
    rows: readonly number[] | null,
    tokens: readonly number[],
  ): Promise<{ logProbs: ArrayLike<number>; beside: (row: number) => ArrayLike<number> }>
}

interface Hypothesis {
  tokens: number[]
  logProb: number
  beside: ArrayLike<number>[]
  row: number
}

/**
 * Beam search for one input. Ends when as many have ended as are followed, none of them worse
 * than what is open, or at maxLength.
 * @param size V
 * @param never tokens that are not to come
 */
export async function beamSearch(
  decoder: Decoder,
  size: number,
  begin: number,
  end: number,
  never: ReadonlySet<number>,
  { beamSize, lengthPenalty, maxLength }: BeamOptions,
): Promise<Found[]> {
  const scoreOf = (logProb: number, length: number): number => logProb / length ** lengthPenalty
  const done: Found[] = []
  let open: Hypothesis[] = [{ tokens: [], logProb: 0, beside: [], row: 0 }]
  for (let length = 1; length <= maxLength && open.length > 0; length++) {
    const { logProbs, beside } = await decoder.step(
      length === 1 ? null : open.map(({ row }) => row),
      open.map(({ tokens }) => tokens.at(-1) ?? begin),
    )
    const next: { from: number; token: number; logProb: number }[] = []
    open.forEach(({ logProb }, from) => {
      for (let token = 0; token < size; token++) {
        if (never.has(token)) continue
        const all = logProb + (logProbs[from * size + token] as number)
        const worst = next.at(-1)
        if (next.length === 2 * beamSize && worst !== undefined && all <= worst.logProb) continue
        let at = next.length
        while (at > 0 && (next[at - 1]?.logProb as number) < all) at--
        next.splice(at, 0, { from, token, logProb: all })
        if (next.length > 2 * beamSize) next.pop()
      }
    })
    const following: Hypothesis[] = []
    for (const [rank, { from, token, logProb }] of next.entries()) {
      const before = open[from] as Hypothesis
      const seen = [...before.beside, beside(from)]
      if (token === end) {
        if (rank < beamSize)
          done.push({
            tokens: before.tokens,
            score: scoreOf(logProb, length),
            beside: before.beside,
          })
      } else if (following.length < beamSize) {
        following.push({ tokens: [...before.tokens, token], logProb, beside: seen, row: from })
      }
    }
    open = following
    done.sort((a, b) => b.score - a.score)
    // Always the likeliest token: what follows its end is nothing.
    if (beamSize === 1 && done.length > 0) return done
    const [best] = open
    // As it is usual: what is open is taken not to get better by its length.
    if (done.length >= beamSize && best !== undefined)
      if ((done[beamSize - 1]?.score as number) >= scoreOf(best.logProb, length)) return done
  }
  for (const { tokens, logProb, beside } of open)
    if (tokens.length === maxLength)
      done.push({ tokens, score: scoreOf(logProb, maxLength), beside })
  return done.sort((a, b) => b.score - a.score)
}
