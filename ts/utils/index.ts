/** As `torch.utils`; states as bytes. */
export {
  type StateFromBytesOptions,
  stateFromBytes,
  stateToBytes,
} from '../io/state_bytes.js'
export * as checkpoint from './checkpoint.js'
export * as dlpack from './dlpack.js'
export {
  type FromTransferableOptions,
  fromTransferable,
  type TransferableTensor,
  type TransferableTensors,
  toTransferable,
} from './transferable.js'
