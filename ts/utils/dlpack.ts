/** Tensors shared with other libraries without a copy; as `torch.utils.dlpack`. */
import { binding, type DlpackCapsule } from '../binding.js'
import { checkDevice, deviceNumber } from '../device.js'
import { dtypeOfCode } from '../dtype.js'
import { typeError } from '../errors.js'
import { checkTensor } from '../ops/common.js'
import { Tensor } from '../tensor.js'

export type { DlpackCapsule } from '../binding.js'

/**
 * A capsule with a share of the tensor's memory, for another addon (native/include/fused_rnn/c.h
 * says how it takes it) or for {@link fromDlpack}; as `torch.utils.dlpack.to_dlpack`. The values are
 * there when the promise settles. The memory lasts until the receiver gives it back, also when the
 * tensor is disposed; a capsule that was not imported gives it back when it is collected.
 *
 * Writing there changes the tensor, and operations that are queued meanwhile see the one or
 * the other.
 * @param tensor float32, int32 or bool, on any device, without gradient: `tensor.detach()`
 * @throws (rejects) TypeError for anything else and for a disposed tensor, or with the first failure
 *   among the operations queued so far
 */
export async function toDlpack(tensor: Tensor): Promise<DlpackCapsule> {
  checkTensor('toDlpack', 'tensor', tensor)
  if (tensor.requiresGrad) {
    throw new TypeError(
      '[toDlpack] tensor: expected one that requires no gradient (share tensor.detach()), got one that does',
    )
  }
  const { buffer } = tensor
  tensor.aliased = true
  return binding.toDlpack(buffer, tensor.shape, deviceNumber(tensor.device))
}

/**
 * A tensor over the memory in a capsule, which is empty afterwards; as
 * `torch.utils.dlpack.from_dlpack`. The values have to be there: the code that fills the memory on a
 * stream of a GPU waits for it first.
 * @param capsule from {@link toDlpack} or another addon: contiguous float32, int32 or bool on the CPU or a
 *   GPU
 * @throws TypeError for anything else and for a capsule that somebody has emptied; RangeError for
 *   another type, layout or device, which leaves the capsule full
 */
export function fromDlpack(capsule: DlpackCapsule): Tensor {
  const fn = 'fromDlpack'
  const number = binding.dlpackDevice(capsule)
  if (number === undefined) throw typeError(fn, 'capsule', 'a capsule of toDlpack()', capsule)
  if (number === null) {
    throw new TypeError(`[${fn}] capsule: expected a full one, got one that somebody has emptied`)
  }
  const device = checkDevice(fn, 'capsule', number < 0 ? 'cpu' : `cuda:${number}`).toString()
  const [buffer, shape, dtype] = binding.fromDlpack(capsule)
  const tensor = Tensor.wrap(buffer, shape, device, dtypeOfCode(dtype))
  tensor.aliased = true
  return tensor
}
