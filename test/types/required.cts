/** The package from CommonJS: Node 20.19 and later load ES modules by require(). */
import fused = require('fused-rnn')

const layer = new fused.nn.LSTM(3, 4)
const output: fused.Tensor = layer.forward(fused.zeros([5, 2, 3]))[0]
output.add(1)
// @ts-expect-error there is no default export
fused.default
