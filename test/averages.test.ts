/** Averages of weights: AveragedModel, SWALR, updateBn, StochasticWeightAveraging. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  type Callback,
  manualSeed,
  nn,
  noGrad,
  optim,
  StochasticWeightAveraging,
  type Tensor,
  Trainer,
  tensor,
  zeros,
} from 'fused-rnn'
import { closeTo, randomTensor, throwsWith } from './helpers.js'

const { swaUtils } = optim

function set(model: nn.Linear, value: number): void {
  nn.init.constant(model.weight, value)
  nn.init.constant(model.bias as Tensor, -value)
}

test.serial('AveragedModel: means, exponential means, functions of one’s own', async (t) => {
  const values = [1, 2, 6, -3]
  const cases: [
    string,
    optim.swaUtils.AveragedModelOptions,
    (a: number, x: number, n: number) => number,
  ][] = [
    ['swa', {}, (a, x, n) => a + (x - a) / (n + 1)],
    ['swa one by one', { avgFn: swaUtils.getSwaAvgFn() }, (a, x, n) => a + (x - a) / (n + 1)],
    ['ema', { multiAvgFn: swaUtils.getEmaMultiAvgFn(0.9) }, (a, x) => 0.9 * a + 0.1 * x],
    ['ema one by one', { avgFn: swaUtils.getEmaAvgFn(0.9) }, (a, x) => 0.9 * a + 0.1 * x],
    ['own', { avgFn: (a, x, n) => a.mul(n).add(x) }, (a, x, n) => a * n + x],
  ]
  for (const [name, options, formula] of cases) {
    const model = new nn.Linear(3, 2)
    const averaged = new swaUtils.AveragedModel(model, options)
    t.deepEqual([...averaged.stateDict().keys()], ['n_averaged', 'module.weight', 'module.bias'])
    let expected = 0
    for (const [n, value] of values.entries()) {
      set(model, value)
      await averaged.updateParameters(model)
      expected = n === 0 ? value : formula(expected, value, n)
      await closeTo(t, averaged.module.weight, Array(6).fill(expected), 1e-6, name)
      await closeTo(t, averaged.module.bias as Tensor, [-expected, -expected], 1e-6, name)
      t.is(await averaged.n_averaged.item(), n + 1)
    }
    // The model itself stays; the copy computes.
    t.is((await model.weight.data())[0], -3)
    await closeTo(t, averaged.forward(zeros([1, 3])), [[-expected, -expected]].flat(), 1e-6)

    const again = new swaUtils.AveragedModel(new nn.Linear(3, 2), options)
    again.loadStateDict(averaged.stateDict())
    set(model, 5)
    const updated = again.updateParameters(model)
    set(model, 7) // what it was given counts
    await updated
    expected = formula(expected, 5, values.length)
    await closeTo(t, again.module.weight, Array(6).fill(expected), 1e-6, `${name}, loaded`)
    t.is(await again.n_averaged.item(), 5)
  }
})

test.serial('AveragedModel averages what an optimiser changes, and clones', async (t) => {
  manualSeed(1)
  const model = new nn.GRU(2, 3)
  const averaged = new swaUtils.AveragedModel(model, {
    multiAvgFn: swaUtils.getEmaMultiAvgFn(0.5),
  })
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 })
  for (let i = 0; i < 3; i++) {
    optimizer.zeroGrad()
    model
      .forward(tensor([[[1, 2]]]))[0]
      .sum()
      .backward()
    await optimizer.step()
    await averaged.updateParameters(model)
  }
  const [output] = noGrad(() => averaged.module.forward(tensor([[[1, 2]]])))
  t.deepEqual([...output.shape], [1, 1, 3])
  const copy = averaged.clone()
  t.deepEqual(
    await (copy.module.stateDict().get('weight_ih_l0') as Tensor).data(),
    await (averaged.module.stateDict().get('weight_ih_l0') as Tensor).data(),
  )
  await copy.updateParameters(model)
  t.is(await copy.n_averaged.item(), 4)
  t.is(await averaged.n_averaged.item(), 3)
})

test('what averages refuse', (t) => {
  const model = new nn.Linear(2, 2)
  const make = (options: object) => () => new swaUtils.AveragedModel(model, options)
  throwsWith(t, () => new swaUtils.AveragedModel(5 as never), TypeError, /model: expected a module/)
  throwsWith(t, make({ decay: 1 }), TypeError, /decay/)
  throwsWith(t, make({ avgFn: 1 }), TypeError, /avgFn/)
  throwsWith(
    t,
    make({ avgFn: () => model.weight, multiAvgFn: () => {} }),
    RangeError,
    /avgFn: expected it or multiAvgFn, got both/,
  )
  const averaged = new swaUtils.AveragedModel(model)
  throwsWith(
    t,
    () => averaged.updateParameters(new nn.Linear(3, 2)),
    RangeError,
    /a model with 'weight' as in the copy/,
  )
  throwsWith(t, () => swaUtils.getEmaMultiAvgFn(2), RangeError, /decay/)
  throwsWith(t, () => new swaUtils.SWALR({ lr: 1 }, [1, 2]), RangeError, /swaLr: expected 1/)
  throwsWith(
    t,
    () => new swaUtils.SWALR({ lr: 1 }, 1, { annealEpochs: -1 }),
    RangeError,
    /annealEpochs/,
  )
  throwsWith(t, () => new StochasticWeightAveraging({ swaLrs: 0 }), RangeError, /swaLrs/)
  throwsWith(
    t,
    () => new StochasticWeightAveraging({ swaLrs: 1, swaEpochStart: 1.5 }),
    RangeError,
    /swaEpochStart/,
  )
})

test.serial('updateBn computes running statistics anew', async (t) => {
  /** What updateBn needs of a batch normalisation: the mean of what it has seen. */
  class Mean extends nn.Module {
    running_mean = nn.Parameter(tensor([7]), false)
    running_var = nn.Parameter(tensor([7]), false)
    num_batches_tracked = nn.Parameter(tensor(3, { dtype: 'int32' }), false)
    momentum: number | null = 0.1
    seen = 0
    override forward(x: Tensor): Tensor {
      t.true(this.training)
      t.is(this.momentum, null)
      this.seen += x.numel
      return x
    }
  }
  const model = new Mean()
  model.eval()
  await swaUtils.updateBn([zeros([3]), [zeros([4]), 'label']], model)
  t.is(model.seen, 7)
  t.is(model.momentum, 0.1)
  t.false(model.training)
  t.is(await model.running_mean.item(), 0)
  t.is(await model.running_var.item(), 1)
  t.is(await model.num_batches_tracked.item(), 0)
  await t.throwsAsync(swaUtils.updateBn(5 as never, model), { message: /\[updateBn\] loader/ })
  await t.notThrowsAsync(swaUtils.updateBn([], new nn.Linear(1, 1)))
})

test.serial('updateBn with BatchNorm1d: the means over the batches', async (t) => {
  manualSeed(4)
  const norm = new nn.BatchNorm1d(2, { momentum: 0.3 })
  const model = new nn.Sequential(new nn.Linear(3, 2), norm)
  model.eval()
  const batches = [randomTensor([4, 3], 1), randomTensor([6, 3], 2), randomTensor([5, 3], 3)]
  await swaUtils.updateBn(batches.slice(0, 2), model)
  // Nothing of what was before is left.
  await swaUtils.updateBn(
    (async function* () {
      for (const batch of batches) yield [batch, 'label']
    })(),
    model,
  )
  const mean = [0, 0]
  const variance = [0, 0]
  for (const batch of batches) {
    const x = await (model[0] as nn.Linear).forward(batch).data()
    for (const feature of [0, 1]) {
      const column = [...x].filter((_, i) => i % 2 === feature)
      const own = column.reduce((a, b) => a + b, 0) / column.length
      const squares = column.reduce((sum, value) => sum + (value - own) ** 2, 0)
      mean[feature] = (mean[feature] as number) + own / batches.length
      variance[feature] =
        (variance[feature] as number) + squares / (column.length - 1) / batches.length
    }
  }
  await closeTo(t, norm.running_mean, mean, 1e-6, 'mean')
  await closeTo(t, norm.running_var, variance, 1e-6, 'variance')
  t.is(await norm.num_batches_tracked?.item(), 3)
  t.is(norm.momentum, 0.3)
  t.false(norm.training)
  const scaled = norm.forward(zeros([1, 2]))
  await closeTo(
    t,
    scaled,
    mean.map((value, i) => -value / Math.sqrt((variance[i] as number) + 1e-5)),
    1e-5,
  )
})

/** Its weight grows by the learning rate in every step. */
class Growing extends nn.Module {
  readonly weight = nn.Parameter(tensor([0]))
  readonly optimizer = new optim.SGD([this.weight], { lr: 1, maximize: true })

  override forward(x: Tensor): Tensor {
    return x.mul(this.weight)
  }
  trainingStep(x: Tensor): Tensor {
    return this.forward(x).sum()
  }
  configureOptimizers() {
    const lrScheduler = new optim.lrScheduler.CosineAnnealingWarmRestarts(this.optimizer, 3)
    return { optimizer: this.optimizer, lrScheduler }
  }
}

test.serial('StochasticWeightAveraging: the mean over the last epochs, also resumed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-swa-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const train = async (more: readonly Callback[], ckptPath?: string, signal?: AbortSignal) => {
    const model = new Growing()
    const swa = new StochasticWeightAveraging({
      swaLrs: 0.5,
      swaEpochStart: 5,
      annealingEpochs: 2,
      annealingStrategy: 'linear',
    })
    const weights: number[] = []
    const rates: number[] = []
    const noting: Callback = {
      onTrainEpochStart: async () => {
        weights.push(await model.weight.item())
        rates.push(model.optimizer.lr)
      },
    }
    const trainer = new Trainer({
      maxEpochs: 8,
      progressBar: false,
      callbacks: [noting, swa, ...more],
      ...(signal && { signal }),
    })
    const data = [tensor([1]), tensor([1])]
    const { epoch } = await trainer.fit(model, data, null, ckptPath ? { ckptPath } : {})
    return { weights, rates, epoch, final: await model.weight.item(), model }
  }
  const whole = await train([])
  const averaged = whole.weights.slice(4)
  const mean = averaged.reduce((sum, w) => sum + w, 0) / averaged.length
  t.true(Math.abs(whole.final - mean) < 1e-5, `${whole.final}, expected ${mean}`)
  t.deepEqual(whole.rates.slice(-2), [0.5, 0.5])

  for (const at of [7, 9, 12, 15]) {
    const path = join(folder, `at-${at}`)
    const stop = new AbortController()
    let batches = 0
    const saving: Callback = {
      onTrainBatchEnd: async (trainer) => {
        if (++batches !== at) return
        await trainer.saveCheckpoint(path)
        stop.abort()
      },
    }
    const stopped = await train([saving], undefined, stop.signal)
    t.true(stopped.epoch < 8)
    t.is((await train([], path)).final, whole.final, `after batch ${at}`)
  }
})
