/** Gradients and hooks. */
import { autograd } from 'fused-rnn'
import { f, linear, method, type Recipe, x } from './tools.js'

export const gradients: Record<string, Recipe> = {
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
