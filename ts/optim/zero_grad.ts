/** What `zeroGrad` of optimisers and modules share. */
import { checkBoolean, checkOptions } from '../errors.js'
import { fillInto } from '../ops/in_place.js'
import { emptyRows } from '../ops/rows.js'
import type { Tensor } from '../tensor.js'

/** What `zeroGrad` takes. */
export interface ZeroGradOptions {
  /** Gradients become null (true, the default) or zeros, in place; as PyTorch's `set_to_none`. */
  setToNone?: boolean
}

/** @throws TypeError */
export function zeroGradients(params: Iterable<Tensor>, options: ZeroGradOptions): void {
  checkOptions('zeroGrad', options, ['setToNone'])
  if (checkBoolean('zeroGrad', 'setToNone', options.setToNone ?? true)) {
    for (const param of params) param.dropGrad()
    return
  }
  for (const { ownGrad } of params) {
    if (ownGrad === null) continue
    if (ownGrad.isSparse) emptyRows(ownGrad)
    else fillInto('zeroGrad', ownGrad, 0)
  }
}
