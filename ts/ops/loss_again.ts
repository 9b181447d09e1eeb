/** Backward functions of losses for gradients of gradients, of recorded operations. */
import { PairLoss } from '../binding.js'
import type { Shape } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { unary } from './unary.js'

/**
 * Of the cross entropy: g · c · (softmax(x) − targets), where c is a row's share in the result.
 * @param g of the result, shape () or of the rows
 * @param x logits `[N, C]`
 * @param share −c · targets `[N, C]`, whose rows add up to −c; without history
 */
export function crossEntropyAgain(g: Tensor, x: Tensor, share: Tensor): Tensor {
  const c = share.sum(1, { keepdim: true }).neg()
  const rows = g.shape.length === 0 ? g : g.reshape([x.shape[0] as number, 1])
  return x.softmax(1).mul(c).add(share).mul(rows)
}

/** log(1 + exp(−x)), also of large numbers. */
function softplusOfMinus(x: Tensor): Tensor {
  return unary('logSigmoid', x).neg()
}

/** Of the other losses of pairs, by input and by target; see native/ops/pair_losses.h. */
function derivatives(
  kind: number,
  x: Tensor,
  t: Tensor,
  weight: Tensor | null,
  option: number,
): [dx: Tensor, dt: Tensor] {
  const odd = (dx: Tensor): [Tensor, Tensor] => [dx, dx.neg()]
  const d = x.sub(t)
  switch (kind) {
    case PairLoss.l1:
      return odd(d.sign())
    case PairLoss.smoothL1:
      return odd(option === 0 ? d.sign() : d.div(option).clamp(-1, 1))
    case PairLoss.huber:
      return odd(d.clamp(-option, option))
    case PairLoss.pinball:
      return odd(
        d
          .sign()
          .mul(0.5)
          .sub((weight as Tensor).sub(0.5)),
      )
    case PairLoss.klDiv:
      return [t.neg(), t.log().add(1).sub(x)]
    case PairLoss.klDivLog:
      return [t.exp().neg(), t.exp().mul(t.sub(x).add(1))]
    case PairLoss.poisson:
      return [t.div(x.add(option)).neg().add(1), x.add(option).log().neg()]
    case PairLoss.poissonLog:
      return [x.exp().sub(t), x.neg()]
    default: {
      const rest = x.neg().add(1)
      const logs = rest.log().clamp(-100).sub(x.log().clamp(-100))
      return [d.div(rest.mul(x).clamp(1e-12)), logs]
    }
  }
}

/**
 * Of losses of pairs of elements.
 * @param mean whether the result is their mean
 * @returns the gradients of input and target
 */
export function pairLossAgain(
  kind: number,
  mean: boolean,
  g: Tensor,
  [x, target]: readonly [Tensor, Tensor],
  [weight, posWeight]: readonly [Tensor | null, Tensor | null],
  [needsX, needsTarget]: readonly [boolean, boolean],
  option = 0,
): (Tensor | null)[] {
  const shape: Shape = x.shape
  const scaled = (y: Tensor): Tensor => {
    const out = (weight === null ? y : y.mul(weight)).mul(g)
    return mean ? out.div(x.numel) : out.reshape(shape)
  }
  if (kind === PairLoss.mse) {
    const twice = scaled(x.sub(target).mul(2))
    return [needsX ? twice : null, needsTarget ? twice.neg() : null]
  }
  if (kind !== PairLoss.bceWithLogits) {
    const [dx, dt] = derivatives(kind, x, target, weight, option)
    const plain = (y: Tensor): Tensor => (mean ? y.mul(g).div(x.numel) : y.mul(g).reshape(shape))
    const full = kind === PairLoss.pinball ? plain : scaled
    return [needsX ? full(dx) : null, needsTarget ? full(dt) : null]
  }
  // posWeight − 1, and what the softplus is multiplied by: 1 + (posWeight − 1) · target.
  const more = posWeight === null ? null : posWeight.sub(1)
  const positives = posWeight === null ? target : target.mul(posWeight)
  const factor = more === null ? null : target.mul(more).add(1)
  const s = x.sigmoid()
  const dx = (factor === null ? s : s.mul(factor)).sub(positives)
  const dt = more === null ? x.neg() : more.mul(softplusOfMinus(x)).sub(x)
  return [needsX ? scaled(dx) : null, needsTarget ? scaled(dt) : null]
}
