/** As `torch.utils`. */
export * as dlpack from './dlpack.js'
export {
  type FromTransferableOptions,
  fromTransferable,
  type TransferableTensor,
  type TransferableTensors,
  toTransferable,
} from './transferable.js'
