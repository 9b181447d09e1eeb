/** Tags of a whole sequence scored together: a linear-chain conditional random field. */

import { oneHot } from '../nn/functional.js'
import { uniformParameter } from '../nn/init.js'
import { Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'

/**
 * A conditional random field over a chain (Lafferty et al. 2001), composed of operations; parameters
 * under the names of the Python package pytorch-crf.
 */
export class ChainCRF extends Module {
  start_transitions: Tensor
  end_transitions: Tensor
  /** (from, to) */
  transitions: Tensor

  constructor(tags: number, device: string) {
    super()
    this.start_transitions = uniformParameter([tags], 0.1, device)
    this.end_transitions = uniformParameter([tags], 0.1, device)
    this.transitions = uniformParameter([tags, tags], 0.1, device)
  }

  /**
   * The negative log likelihood of the tags, added up over the sequences.
   * @param emissions (B, T, K)
   * @param tags int32 (B, T); where the mask is 0, any tag
   * @param mask (B, T): 1, or 0 where a sequence has ended
   * @param ends (B, T): 1 at each sequence's last step, else 0
   */
  forward(emissions: Tensor, tags: Tensor, mask: Tensor, ends: Tensor): Tensor {
    const [batch, time, count] = emissions.shape as [number, number, number]
    const chosen = oneHot(tags, count)
    const inside = mask.unsqueeze(2)
    let score = emissions.mul(chosen).mul(inside).sum()
    score = score.add(chosen.select(1, 0).mul(this.start_transitions).sum())
    score = score.add(chosen.mul(ends.unsqueeze(2)).mul(this.end_transitions).sum())
    if (time > 1) {
      const from = chosen.slice(1, 0, time - 1).matmul(this.transitions)
      score = score.add(from.mul(chosen.slice(1, 1)).mul(inside.slice(1, 1)).sum())
    }
    const leaves = this.transitions.exp()
    let alpha = emissions.select(1, 0).add(this.start_transitions)
    for (let t = 1; t < time; t++) {
      const most = alpha.detach().max(1, { keepdim: true })[0]
      const sums = alpha.sub(most).exp().matmul(leaves).log().add(most)
      const next = sums.add(emissions.select(1, t))
      const going = mask.select(1, t).reshape([batch, 1])
      alpha = alpha.add(next.sub(alpha).mul(going))
    }
    const last = alpha.add(this.end_transitions)
    const most = last.detach().max(1, { keepdim: true })[0]
    return last
      .sub(most)
      .exp()
      .sum(1)
      .log()
      .add(most.reshape([batch]))
      .sum()
      .sub(score)
  }
}

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
