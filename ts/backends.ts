/** Settings of the devices' arithmetic; as `torch.backends`. */
import { binding, Fp32Precision } from './binding.js'
import { checkOneOf } from './errors.js'

/**
 * What products of float32 matrices are computed in on a GPU: float32; its first 10 bits of
 * fraction, on tensor cores; or bfloat16, on tensor cores. Sums are float32, as are all tensors.
 */
export type Precision = keyof typeof Fp32Precision

const NAMES = Object.keys(Fp32Precision) as Precision[]

class Products {
  readonly #name: string
  #precision: Precision

  constructor(name: string, precision: Precision) {
    this.#name = name
    this.#precision = precision
  }

  /** For the operations that are called from now on. */
  get fp32Precision(): Precision {
    return this.#precision
  }

  /** @throws TypeError */
  set fp32Precision(value: Precision) {
    this.#precision = checkOneOf(this.#name, 'fp32Precision', value, NAMES)
    tell()
  }
}

/** The GPUs'. */
export const cuda = {
  /** Of `matmul` and linear layers, 'ieee' at first; as `torch.backends.cuda.matmul`. */
  matmul: new Products('backends.cuda.matmul', 'ieee'),
  /** Of recurrent layers, 'tf32' at first; as `torch.backends.cudnn.rnn`. */
  rnn: new Products('backends.cuda.rnn', 'tf32'),
} as const

function tell(): void {
  binding.setPrecision(
    Fp32Precision[cuda.matmul.fp32Precision],
    Fp32Precision[cuda.rnn.fp32Precision],
  )
}
