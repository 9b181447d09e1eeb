/**
 * The sums over all paths of the CTC loss and of conditional random fields as loops of tensor
 * operations, step by step. They are used where gradients are differentiated in turn (`createGraph`).
 */
import { binding } from '../binding.js'
import { deviceNumber } from '../device.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { cat, stack } from './shape.js'

/** The logarithm of a share of no path; finite, so that its gradient is 0 and not NaN. */
const NONE = -1e30

/** int32 `[n]`: 0, 1, … */
function counted(n: number, device: string): Tensor {
  const buffer = binding.ramp(n, 0, 1, Math.max(0, n - 1), true, deviceNumber(device))
  return Tensor.wrap(buffer, [n], device, 'int32')
}

/** Whether a step `[T, 1]` lies within a sequence `[N]`, bool `[T, N]`. */
function within(steps: number, lengths: Tensor): Tensor {
  return counted(steps, lengths.device).reshape([steps, 1]).lt(lengths)
}

/** What the CTC loss knows of its targets; no tensor has a history. */
export interface CtcTargets {
  /** int32 `[N, width]`, or one after the other (width -1). */
  targets: Tensor
  width: number
  /** No target is longer. */
  longest: number
  /** int32 `[N]`. */
  inputLengths: Tensor
  targetLengths: Tensor
  blank: number
}

/** The labels with blanks around them, int32 `[N, 2 longest + 1]`; what lies beyond is any class. */
function withBlanks(given: CtcTargets, classes: number): Tensor {
  const { targets, width, targetLengths, blank } = given
  const { device, numel } = targets
  const batch = targetLengths.numel
  const longest = width < 0 ? Math.min(given.longest, numel) : width
  const ends = targetLengths.reshape([batch, 1]).mul(0).add(blank)
  if (longest === 0) return ends
  let labels = targets
  if (width < 0) {
    const starts = targetLengths.cumsum(0).sub(targetLengths).reshape([batch, 1])
    const places = starts.add(counted(longest, device)).clamp(0, numel - 1)
    labels = targets.indexSelect(0, places.reshape([batch * longest]))
  }
  const rows = labels.reshape([batch, longest, 1]).clamp(0, classes - 1)
  const pairs = cat([rows.mul(0).add(blank), rows], 2)
  return cat([pairs.reshape([batch, 2 * longest]), ends], 1)
}

/** The logarithms of the targets' likelihoods `[N]` from log probabilities `[T, N, C]`. */
export function ctcLikelihood(logProbs: Tensor, given: CtcTargets): Tensor {
  const [steps, batch, classes] = logProbs.shape as [number, number, number]
  const { device } = logProbs
  const labels = withBlanks(given, classes)
  const states = labels.shape[1] as number
  const all = labels.reshape([1, batch, states]).expand([steps, batch, states])
  const scores = logProbs.clamp(NONE).gather(2, all)
  const none = (count: number): Tensor => filled([batch, count], NONE, device)
  // A label may follow the one before without a blank between, unless they are the same.
  const later = labels.slice(1, Math.min(2, states))
  const skips = later.ne(labels.slice(1, 0, states - 2)).logicalAnd(later.ne(given.blank))
  const skipped =
    states > 2 ? cat([none(2), filled(skips.shape, 0, device).where(skips, NONE)], 1) : null
  const first = Math.min(2, states)
  const begun = cat([filled([batch, first], 0, device), none(states - first)], 1)
  const live = within(steps, given.inputLengths)
  let alpha = scores.select(0, 0).add(begun)
  for (let t = 1; t < steps; t++) {
    const ways = [alpha]
    if (states > 1) ways.push(cat([none(1), alpha.slice(1, 0, states - 1)], 1))
    if (skipped) ways.push(cat([none(2), alpha.slice(1, 0, states - 2)], 1).add(skipped))
    const next = stack(ways, 2).logsumexp(2).add(scores.select(0, t))
    alpha = next.where(live.select(0, t).reshape([batch, 1]), alpha)
  }
  const ends = given.targetLengths.reshape([batch, 1]).mul(2)
  const blankLast = alpha.gather(1, ends)
  const labelLast = alpha.gather(1, ends.sub(1).clamp(0)).where(ends.gt(0), NONE)
  return cat([blankLast, labelLast], 1).logsumexp(1)
}

/**
 * The gradient of the CTC loss with respect to log probabilities `[T, N, C]`, with history: as of the
 * fused one, exp(logProbs) − the expected share of each class.
 * @param differentiate sends a gradient of ctcLikelihood() back to its log probabilities
 */
export function ctcAgain(
  dloss: Tensor,
  logProbs: Tensor,
  given: CtcTargets,
  zeroInfinity: boolean,
  differentiate: (f: (x: Tensor) => Tensor, gradient: Tensor) => Tensor,
): Tensor {
  const [steps, batch] = logProbs.shape as [number, number, number]
  if (steps === 0) return logProbs.mul(0)
  const possible = ctcLikelihood(logProbs.detach(), given).gt(NONE / 10)
  const scale = dloss.where(possible, zeroInfinity ? 0 : Number.NaN).reshape([batch, 1])
  const expected = differentiate((x) => ctcLikelihood(x, given), dloss.where(possible, 0).neg())
  const live = within(steps, given.inputLengths).reshape([steps, batch, 1])
  const own = logProbs.exp().mul(scale)
  return own.add(expected).where(live, 0)
}

/** The logarithm of the likelihood of each path, `[N]`; the arguments as of a CRF, `[T, N, …]`. */
export function pathLikelihood(
  emissions: Tensor,
  start: Tensor,
  end: Tensor,
  transitions: Tensor,
  path: Tensor,
  lengths: Tensor,
): Tensor {
  const [steps, batch, tags] = emissions.shape as [number, number, number]
  const live = within(steps, lengths)
  const chosen = path.clamp(0, tags - 1)
  let score = start.indexSelect(0, chosen.select(0, 0))
  const emitted = emissions.gather(2, chosen.reshape([steps, batch, 1])).reshape([steps, batch])
  score = score.add(emitted.where(live, 0).sum(0))
  if (steps > 1) {
    const pairs = chosen
      .slice(0, 0, steps - 1)
      .mul(tags)
      .add(chosen.slice(0, 1))
    const passed = transitions.reshape([tags * tags]).indexSelect(0, pairs.reshape([-1]))
    score = score.add(
      passed
        .reshape([steps - 1, batch])
        .where(live.slice(0, 1), 0)
        .sum(0),
    )
  }
  const last = chosen.gather(0, lengths.sub(1).reshape([1, batch])).reshape([batch])
  score = score.add(end.indexSelect(0, last))
  let alpha = emissions.select(0, 0).add(start)
  for (let t = 1; t < steps; t++) {
    const next = alpha.reshape([batch, tags, 1]).add(transitions).logsumexp(1)
    const on = live.select(0, t).reshape([batch, 1])
    alpha = next.add(emissions.select(0, t)).where(on, alpha)
  }
  return score.sub(alpha.add(end).logsumexp(1))
}
