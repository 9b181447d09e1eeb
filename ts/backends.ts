/** Settings of the devices' arithmetic; as `torch.backends`. */
import { binding, Fp32Precision } from './binding.js'
import { checkOneOf } from './errors.js'

type Precision = keyof typeof Fp32Precision

const NAMES = Object.keys(Fp32Precision) as Precision[]
const CPU_NAMES = ['ieee', 'bf16'] as const

class Products<P extends Precision> {
  readonly #name: string
  readonly #names: readonly P[]
  #precision: P

  constructor(name: string, names: readonly P[], precision: P) {
    this.#name = name
    this.#names = names
    this.#precision = precision
  }

  /** For the operations that are called from now on. */
  get fp32Precision(): P {
    return this.#precision
  }

  /** @throws TypeError */
  set fp32Precision(value: P) {
    this.#precision = checkOneOf(this.#name, 'fp32Precision', value, this.#names)
    tell()
  }
}

/** The GPUs'. */
const cuda = {
  /** Of `matmul` and linear layers, 'ieee' at first; as `torch.backends.cuda.matmul`. */
  matmul: new Products('backends.cuda.matmul', NAMES, 'ieee'),
  /** Of recurrent layers, 'tf32' at first; as `torch.backends.cudnn.rnn`. */
  rnn: new Products('backends.cuda.rnn', NAMES, 'tf32'),
} as const

/**
 * The CPU's, 'ieee' at first. With 'bf16', what goes into a product is rounded to bfloat16:
 * parameters, states between steps, gates, gradients of parameters and all sums stay float32. Where
 * nothing is gained it stays float32, too: batches of up to 8 sequences, products of up to 8 rows,
 * columns or terms.
 */
const cpu = {
  /** Of `matmul` and linear layers; as `torch.backends.mkldnn.matmul`. */
  matmul: new Products<(typeof CPU_NAMES)[number]>('backends.cpu.matmul', CPU_NAMES, 'ieee'),
  /** Of recurrent layers; as `torch.backends.mkldnn.rnn`. */
  rnn: new Products<(typeof CPU_NAMES)[number]>('backends.cpu.rnn', CPU_NAMES, 'ieee'),
} as const

class Backends {
  readonly cuda: typeof cuda = cuda
  readonly cpu: typeof cpu = cpu

  /** What all of the settings say; 'none' where they differ, as at first. */
  get fp32Precision(): Precision | 'none' {
    const all = new Set<Precision>([cuda.matmul, cuda.rnn, cpu.matmul, cpu.rnn].map(precisionOf))
    return all.size === 1 ? ([...all][0] as Precision) : 'none'
  }

  /**
   * Sets all of them; as `torch.backends.fp32_precision`. The CPU has no TF32: with 'tf32', its own
   * become 'ieee'.
   *
   * @throws TypeError
   */
  set fp32Precision(value: Precision) {
    checkOneOf('backends', 'fp32Precision', value, NAMES)
    for (const products of [cuda.matmul, cuda.rnn]) products.fp32Precision = value
    const own = value === 'bf16' ? 'bf16' : 'ieee'
    for (const products of [cpu.matmul, cpu.rnn]) products.fp32Precision = own
  }
}

function precisionOf(products: { readonly fp32Precision: Precision }): Precision {
  return products.fp32Precision
}

/** Settings of the devices' arithmetic; as `torch.backends`. */
export const backends = new Backends()

export declare namespace backends {
  /**
   * What products of float32 matrices are computed in: float32; on a GPU, its first 10 bits of
   * fraction, on tensor cores; or bfloat16, on tensor cores or by the CPU's instructions for it.
   * Sums are float32, as are all tensors.
   */
  export type Precision = keyof typeof Fp32Precision
}

function tell(): void {
  binding.setPrecision(
    Fp32Precision[cuda.matmul.fp32Precision],
    Fp32Precision[cuda.rnn.fp32Precision],
    cpu.matmul.fp32Precision === 'bf16',
    cpu.rnn.fp32Precision === 'bf16',
  )
}
