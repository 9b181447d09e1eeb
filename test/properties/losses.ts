/** The losses beside their formulas. */
import fc from 'fast-check'
import { nn, type Tensor } from 'fused-rnn'
import * as draw from './arbitraries.js'
import type { Call, Operation } from './operations.js'
import type { Values } from './reference.js'
import * as ref from './reference.js'

const { functional } = nn
const reductions = fc.constantFrom('mean' as const, 'sum' as const, 'none' as const)
type Reduction = 'mean' | 'sum' | 'none'

/** Losses, each with its weight in the mean, of the shape that 'none' gives. */
function reduced(
  shape: readonly number[],
  losses: number[],
  weights: number[],
  how: Reduction,
): Values {
  const weighted = losses.map((loss, i) => ((weights[i] as number) === 0 ? 0 : loss))
  if (how === 'none') return ref.floats(shape, weighted)
  const total = ref.sum(weighted)
  return ref.floats([], [how === 'sum' ? total : total / ref.sum(weights)])
}

/** A tensor of classes, by way of the calls' own functions: it has no gradient. */
const classTensor = (shape: readonly number[], data: number[]): Tensor =>
  draw.toTensor({ shape, dtype: 'int32', data })

function classLoss(kind: 'crossEntropy' | 'nllLoss'): fc.Arbitrary<Call> {
  return fc
    .tuple(fc.option(fc.nat({ max: 5 })), fc.integer({ min: 1, max: 6 }), reductions)
    .chain(([rows, classes, reduction]) => {
      const shape = rows === null ? [] : [rows]
      const targets = fc.array(fc.integer({ min: -1, max: classes - 1 }), {
        minLength: ref.numel(shape),
        maxLength: ref.numel(shape),
      })
      const smoothing = kind === 'crossEntropy' ? fc.constantFrom(0, 0.1, 1) : fc.constant(0)
      return fc
        .tuple(draw.smooth([...shape, classes], -6, 6), targets, smoothing)
        .map(([x, target, labelSmoothing]) => ({
          text: `${kind}(…, [${target}], ${reduction}, ${labelSmoothing})`,
          inputs: [x],
          ours: (input) => {
            const options = { reduction, ignoreIndex: -1 }
            return kind === 'crossEntropy'
              ? functional.crossEntropy(input, classTensor(shape, target), {
                  ...options,
                  labelSmoothing,
                })
              : functional.nllLoss(input, classTensor(shape, target), options)
          },
          theirs: (input) => {
            const logs =
              kind === 'nllLoss' ? input : ref.along(input, -1, (row) => ref.softmaxOf(row, true))
            const losses = target.map((chosen, row) => {
              const own = logs.data.slice(row * classes, (row + 1) * classes)
              return (
                -(1 - labelSmoothing) * (own[Math.max(chosen, 0)] as number) -
                (labelSmoothing * ref.sum(own)) / classes
              )
            })
            return reduced(
              shape,
              losses,
              target.map((chosen) => (chosen === -1 ? 0 : 1)),
              reduction,
            )
          },
        }))
    })
}

const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

function pairLoss(kind: 'mseLoss' | 'binaryCrossEntropyWithLogits'): fc.Arbitrary<Call> {
  const weights = draw
    .shapes(3)
    .chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        reductions,
        fc.option(draw.broadcasting(shape).chain((s) => draw.smooth(s, 0.2, 2))),
        fc.option(draw.broadcasting(shape).chain((s) => draw.smooth(s, 0.2, 2))),
        fc.nat({ max: 9 }),
      ),
    )
  return weights.chain(([shape, reduction, weight, posWeight, odd]) =>
    fc
      .tuple(draw.smooth(shape, -4, 4), draw.smooth(odd === 0 ? [...shape, 2] : shape, 0, 1))
      .map((inputs) => ({
        text: `${kind}(…, ${reduction})`,
        inputs,
        ours: (x, target) => {
          if (kind === 'mseLoss') return functional.mseLoss(x, target as Tensor, { reduction })
          return functional.binaryCrossEntropyWithLogits(x, target as Tensor, {
            reduction,
            weight: weight && draw.toTensor(weight),
            posWeight: posWeight && draw.toTensor(posWeight),
          })
        },
        theirs: (x, target) => {
          if (odd === 0) ref.refuse('shapes')
          const factor = (of: Values | null, index: number[]): number => {
            if (of === null || kind === 'mseLoss') return 1
            if (String(ref.broadcastShape(of.shape, shape)) !== String(shape)) ref.refuse('weight')
            return ref.broadcastAt(of, index)
          }
          const losses = ref.indices(shape).map((index, i) => {
            const [input, t] = [x.data[i] as number, (target as Values).data[i] as number]
            if (kind === 'mseLoss') return (input - t) ** 2
            const positive = factor(posWeight, index) * t * softplus(-input)
            return factor(weight, index) * (positive + (1 - t) * softplus(input))
          })
          // A weight of the wrong shape is one also where there is nothing to weigh.
          for (const of of [weight, posWeight]) {
            const fits = (): boolean =>
              String(ref.broadcastShape((of as Values).shape, shape)) === String(shape)
            if (of !== null && kind !== 'mseLoss' && !fits()) ref.refuse('weight')
          }
          return reduced(
            shape,
            losses,
            losses.map(() => 1),
            reduction,
          )
        },
      })),
  )
}

export const losses: Operation[] = [
  ...(['crossEntropy', 'nllLoss'] as const).map((name) => ({
    name,
    calls: classLoss(name),
    smooth: classLoss(name),
  })),
  ...(['mseLoss', 'binaryCrossEntropyWithLogits'] as const).map((name) => ({
    name,
    calls: pairLoss(name),
    smooth: pairLoss(name),
  })),
]
