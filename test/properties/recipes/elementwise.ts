/** Layers without a recurrent matrix, and their cells. */
import { nn } from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import { f, layerOptions, make, method, type Recipe } from './tools.js'

const { weightDropout: _, recurrentDropout: __, zoneout: ___, ...plain } = layerOptions
const options = { ...plain, device: testDevice }
const cell = { bias: true, device: testDevice }
const unit = { nonlinearity: 'tanh' }

export const elementwise: Record<string, Recipe> = {
  'nn.IndRNN': make(nn.IndRNN, 3, 4, { ...options, ...unit }),
  'nn.IndRNN.forward': method(
    () => new nn.IndRNN(3, 4),
    'forward',
    () => [f(2, 2, 3), f(1, 2, 4)],
  ),
  'nn.IndRNN.extraRepr': method(() => new nn.IndRNN(3, 4), 'extraRepr'),
  'nn.IndRNN.resetParameters': method(() => new nn.IndRNN(3, 4), 'resetParameters'),
  'nn.IndRNNCell': make(nn.IndRNNCell, 3, 4, { ...cell, ...unit }),
  'nn.IndRNNCell.forward': method(
    () => new nn.IndRNNCell(3, 4),
    'forward',
    () => [f(2, 3), f(2, 4)],
  ),
  'nn.IndRNNCell.extraRepr': method(() => new nn.IndRNNCell(3, 4), 'extraRepr'),
  'nn.IndRNNCell.resetParameters': method(() => new nn.IndRNNCell(3, 4), 'resetParameters'),
  'nn.SRU': make(nn.SRU, 3, 4, options),
  'nn.SRU.forward': method(
    () => new nn.SRU(3, 3),
    'forward',
    () => [f(2, 2, 3), f(1, 2, 3)],
  ),
  'nn.SRU.resetParameters': method(() => new nn.SRU(3, 4), 'resetParameters'),
  'nn.SRUCell': make(nn.SRUCell, 3, 4, cell),
  'nn.SRUCell.forward': method(
    () => new nn.SRUCell(3, 4),
    'forward',
    () => [f(2, 3), f(2, 4)],
  ),
  'nn.SRUCell.resetParameters': method(() => new nn.SRUCell(3, 4), 'resetParameters'),
  'nn.MinGRU': make(nn.MinGRU, 3, 4, options),
  'nn.MinGRU.forward': method(
    () => new nn.MinGRU(3, 4),
    'forward',
    () => [f(2, 2, 3), f(1, 2, 4)],
  ),
  'nn.MinGRUCell': make(nn.MinGRUCell, 3, 4, cell),
  'nn.MinGRUCell.forward': method(
    () => new nn.MinGRUCell(3, 4),
    'forward',
    () => [f(2, 3), f(2, 4)],
  ),
  'nn.MinLSTM': make(nn.MinLSTM, 3, 4, options),
  'nn.MinLSTM.forward': method(
    () => new nn.MinLSTM(3, 4),
    'forward',
    () => [f(2, 2, 3), f(1, 2, 4)],
  ),
  'nn.MinLSTMCell': make(nn.MinLSTMCell, 3, 4, cell),
  'nn.MinLSTMCell.forward': method(
    () => new nn.MinLSTMCell(3, 4),
    'forward',
    () => [f(2, 3), f(2, 4)],
  ),
}
