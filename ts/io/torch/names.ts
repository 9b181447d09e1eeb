/** What a pickle of torch.save may name: types of elements, storages, and the functions that are known. */
import type { FileDType } from '../dtypes.js'

/** Types of elements by their name in PyTorch. */
export const TORCH_DTYPES: ReadonlyMap<string, FileDType> = new Map([
  ['float32', 'F32'],
  ['float', 'F32'],
  ['float64', 'F64'],
  ['double', 'F64'],
  ['float16', 'F16'],
  ['half', 'F16'],
  ['bfloat16', 'BF16'],
  ['int64', 'I64'],
  ['long', 'I64'],
  ['int32', 'I32'],
  ['int', 'I32'],
  ['int16', 'I16'],
  ['short', 'I16'],
  ['int8', 'I8'],
  ['uint8', 'U8'],
  ['uint16', 'U16'],
  ['uint32', 'U32'],
  ['uint64', 'U64'],
  ['bool', 'BOOL'],
])

/** Types of storages, of which each has one type of elements. */
export const STORAGES: ReadonlyMap<string, FileDType> = new Map([
  ['torch.FloatStorage', 'F32'],
  ['torch.DoubleStorage', 'F64'],
  ['torch.HalfStorage', 'F16'],
  ['torch.BFloat16Storage', 'BF16'],
  ['torch.LongStorage', 'I64'],
  ['torch.IntStorage', 'I32'],
  ['torch.ShortStorage', 'I16'],
  ['torch.CharStorage', 'I8'],
  ['torch.ByteStorage', 'U8'],
  ['torch.BoolStorage', 'BOOL'],
  // Of bytes: the tensor says what they are.
  ['torch.storage.UntypedStorage', 'U8'],
])

/** Functions and classes that are known by name; none of them is called. */
export const KNOWN = [
  'collections.OrderedDict',
  'collections.Counter',
  'builtins.set',
  'builtins.bytearray',
  '_codecs.encode',
  'torch.Size',
  'torch.device',
  'torch._utils._rebuild_tensor',
  'torch._utils._rebuild_tensor_v2',
  'torch._utils._rebuild_tensor_v3',
  'torch._utils._rebuild_parameter',
] as const

export type KnownName = (typeof KNOWN)[number]

/** Why some frequent ones are not read, and what to do. */
const REASONS: readonly [RegExp, string][] = [
  [
    /^(torch\.Complex|builtins\.complex$)/,
    'complex numbers are not known here: save real and imaginary parts (torch.view_as_real)',
  ],
  [
    /^torch\.(Q\w+Storage|_utils\._rebuild_qtensor|per_\w+)$/,
    'quantised tensors are not known here: save x.dequantize()',
  ],
  [
    /^torch\._utils\._rebuild_sparse|^torch\.serialization\._get_layout$/,
    'sparse tensors are not known here: save x.to_dense()',
  ],
  [
    /^torch\._utils\._rebuild_(meta|wrapper)|^torch\._utils\._rebuild_device/,
    'a tensor without values, or of another kind of device, is not known here: save x.cpu()',
  ],
  [
    /^torch\._tensor\._rebuild_from_type|^torch\._utils\._rebuild_parameter_with_state$|^torch\.Tensor$/,
    'tensors of a class of their own, or with attributes, are not known here: save x.detach().clone()',
  ],
  [
    /^torch\.float8|^torch\.(complex|bits|quint|qint|uint[1-7]$|int[1-7]$|float4)/,
    'its elements are of a type that is not known here: save x.float()',
  ],
]

/** What to do about a name that is not known. */
export function refusal(name: string, near: string | null): Error {
  const where = near === null ? '' : ` (near '${near}')`
  const known = REASONS.find(([pattern]) => pattern.test(name))?.[1]
  const advice =
    known ??
    `only tensors, numbers, texts, lists, dicts and sets are read, and nothing in a file is ever called. Where you trust the file, in Python: torch.save(torch.load('FILE', weights_only=False)${near === null ? '.state_dict()' : "['state_dict']"}, 'weights.pt')${near === null ? '' : ', with the key of what you want'}`
  return new Error(`it has a '${name}'${where}; ${advice}`)
}
