/** Gradients and hooks. */
import { autograd, nn, utils } from 'fused-rnn'
import { call, f, linear, method, type Recipe, x } from './tools.js'

/** A profile that is over, so that another can begin. */
const profiled = () => {
  const prof = new autograd.profiler.profile()
  void prof.stop()
  return prof
}

export const gradients: Record<string, Recipe> = {
  'autograd.profiler.recordFunction': call(autograd.profiler.recordFunction, () => ['part', x]),
  'autograd.profiler.EventAverages.table': method(
    () => new autograd.profiler.EventAverages(),
    'table',
    () => [{ sortBy: 'mean', rowLimit: 3 }],
  ),
  'autograd.profiler.profile.stop': method(profiled, 'stop'),
  'autograd.profiler.profile.exportChromeTrace': method(profiled, 'exportChromeTrace', () => [
    '/dev/null',
  ]),
  'utils.checkpoint.checkpoint': call(utils.checkpoint.checkpoint, () => [() => f(2), x()]),
  'utils.checkpoint.checkpointSequential': call(utils.checkpoint.checkpointSequential, () => [
    new nn.Sequential(linear(), new nn.Dropout()),
    2,
    x(),
  ]),
  'utils.checkpoint.checkpointSteps': call(utils.checkpoint.checkpointSteps as never, () => [
    new nn.GRU(3, 4),
    2,
    f(4, 2, 3),
    f(1, 2, 4),
  ]),
  'autograd.grad': () => {
    const a = x()
    const options = { gradOutputs: f(2, 3), createGraph: false, retainGraph: true }
    return [autograd.grad, [a.mul(2), [a], { ...options, allowUnused: true }]]
  },
  'autograd.FunctionContext.setMaterializeGrads': method(
    () => new autograd.FunctionContext(),
    'setMaterializeGrads',
    () => [true],
  ),
  'Tensor.registerHook': method(x, 'registerHook', () => [() => {}]),
  'Tensor.retainGrad': method(() => x().mul(2), 'retainGrad'),
  'nn.Module.registerForwardPreHook': method(linear, 'registerForwardPreHook', () => [() => {}]),
  'nn.Module.registerForwardHook': method(linear, 'registerForwardHook', () => [() => {}]),
  'nn.Module.registerFullBackwardHook': method(linear, 'registerFullBackwardHook', () => [
    () => {},
  ]),
}
