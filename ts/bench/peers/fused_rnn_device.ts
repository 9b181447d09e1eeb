/** Where our side of the benchmark computes: what the runner's `--device` and `--precision` say. */
import { backends, setDefaultDevice } from '../../index.js'

export function chooseDevice(): void {
  setDefaultDevice(process.env.FUSED_RNN_BENCH_DEVICE ?? 'cpu')
  const precision = (process.env.FUSED_RNN_BENCH_PRECISION ?? 'tf32') as 'tf32' | 'ieee' | 'bf16'
  backends.cuda.matmul.fp32Precision = precision
  backends.cuda.rnn.fp32Precision = precision
  const onCpu = precision === 'bf16' && process.argv[4] !== 'float32' ? 'bf16' : 'ieee'
  backends.cpu.matmul.fp32Precision = onCpu
  backends.cpu.rnn.fp32Precision = onCpu
}
