/** When EarlyStopping ends training, and which weights it leaves. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  EarlyStopping,
  type EarlyStoppingOptions,
  ModelCheckpoint,
  manualSeed,
  nn,
  optim,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { throwsWith } from './helpers.js'

/** Its weight is the number of epochs; its validation score is what it has been told. */
class Told extends nn.Module {
  readonly weight = nn.Parameter(tensor([0]))
  readonly scores: readonly number[]

  constructor(scores: readonly number[]) {
    super()
    this.scores = scores
  }

  override forward(x: Tensor): Tensor {
    return x.mul(this.weight)
  }

  trainingStep(x: Tensor): Tensor {
    return this.forward(x).sum()
  }

  validationStep(_x: Tensor, { epoch }: { epoch: number }) {
    return { loss: tensor([1]), metrics: { score: this.scores[epoch] as number } }
  }

  configureOptimizers() {
    return new optim.SGD(this.parameters(), { lr: 1, maximize: true })
  }
}

async function train(
  scores: readonly number[],
  options: EarlyStoppingOptions,
  {
    epochs = scores.length,
    ckptPath,
    dirpath,
  }: { epochs?: number; ckptPath?: string; dirpath?: string } = {},
) {
  manualSeed(1)
  const model = new Told(scores)
  const early = new EarlyStopping({ monitor: 'valScore', ...options })
  const callbacks = [early, ...(dirpath === undefined ? [] : [new ModelCheckpoint({ dirpath })])]
  const trainer = new Trainer({ maxEpochs: epochs, progressBar: false, callbacks })
  const data = [tensor([1])]
  const { epoch, stopped } = await trainer.fit(model, data, data, ckptPath ? { ckptPath } : {})
  return { epoch, stopped, weight: await model.weight.item(), early, trainer }
}

test.serial('patience, thresholds and numbers that are not finite', async (t) => {
  const epochs = async (scores: number[], options: EarlyStoppingOptions) => {
    const { epoch, stopped } = await train(scores, options)
    return stopped === 'shouldStop' ? epoch : null
  }
  t.is(await epochs([5, 4, 4, 4, 4], { patience: 2 }), 4)
  t.is(await epochs([5, 4, 3, 2, 1], { patience: 1, stoppingThreshold: 3 }), 4)
  t.is(await epochs([5, 4, 3, 3, 3], { stoppingThreshold: 3 }), null)
  t.is(await epochs([1, 2, 3, 4, 5], { mode: 'max', stoppingThreshold: 2.5 }), 3)
  t.is(await epochs([5, 6, 9, 1, 1], { divergenceThreshold: 8 }), 3)
  t.is(await epochs([5, 4, 2, 9, 9], { mode: 'max', divergenceThreshold: 3, patience: 9 }), 3)
  t.is(await epochs([5, NaN, 4, 3, 2], {}), 2)
  t.is(await epochs([5, Infinity, 4, 3, 2], {}), 2)
  t.is(await epochs([5, NaN, 4, 3, 2], { checkFinite: false }), null)
})

test.serial('restoreBestWeights: those of the best check, also after going on', async (t) => {
  const scores = [5, 3, 4, 2, 6, 6, 6, 6]
  const plain = await train(scores, { patience: 2 })
  t.is(plain.weight, 6)
  t.is((await train(scores, { patience: 2, restoreBestWeights: true })).weight, 4)
  // Also where it did not end training.
  t.is((await train(scores, { patience: 9, restoreBestWeights: true })).weight, 4)

  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-early-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const options = { patience: 2, restoreBestWeights: true }
  const first = await train(scores, options, { epochs: 3, dirpath: folder })
  t.is(first.weight, 2)
  // The checkpoint has the latest weights, and the best ones beside them.
  const ckptPath = join(folder, 'last')
  const second = await train(scores, options, { epochs: 5, ckptPath, dirpath: folder })
  t.is(second.weight, 4)
  const third = await train(scores, options, { epochs: 8, ckptPath })
  t.is(third.weight, 4)
  t.is(third.epoch, plain.epoch)
  t.is(third.early.bestScore, 2)
})

test('EarlyStopping: what it refuses', (t) => {
  throwsWith(
    t,
    () => new EarlyStopping({ stoppingThreshold: NaN }),
    RangeError,
    /\[EarlyStopping\] stoppingThreshold/,
  )
  throwsWith(
    t,
    () => new EarlyStopping({ divergenceThreshold: '1' as never }),
    TypeError,
    /divergenceThreshold/,
  )
  throwsWith(
    t,
    () => new EarlyStopping({ restoreBestWeights: 1 as never }),
    TypeError,
    /restoreBestWeights/,
  )
  throwsWith(
    t,
    () =>
      new EarlyStopping().loadStateDict({ bestScore: 1, waitCount: 0, bestWeights: 5 as never }),
    TypeError,
    /bestWeights: expected a state dict or null, got 5/,
  )
})
