// An array goes from the addon to fused-rnn and back again without being copied.
import { createRequire } from 'node:module'
import { nn, utils } from 'fused-rnn'

const waves = createRequire(import.meta.url)('./build/Release/waves.node')
const { fromDlpack, toDlpack } = utils.dlpack

const wave = fromDlpack(waves.sine(12)) // the addon's memory is a tensor now
const [output] = new nn.GRU(1, 4).forward(wave.reshape([12, 1, 1]))
console.log('a GRU of it:', output.shape)

// The addon works on a tensor's own memory: `wave` changes.
const same = fromDlpack(waves.rectify(await toDlpack(wave)))
console.log('rectified:', await wave.data())

wave[Symbol.dispose]()
console.log('still there:', (await same.data()).length, 'values,', waves.live(), 'array')
same[Symbol.dispose]()
