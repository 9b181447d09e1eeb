/** What a file is that is none of ours, told by its first bytes: so that an error can say what to do. */

/** So many bytes are enough. */
export const HEAD_BYTES = 512

interface Kind {
  /** As in 'it is …'. */
  what: string
  advice: string
}

const SAVE_NUMPY = (tensors: string): string =>
  `in Python: safetensors.numpy.save_file(${tensors}, 'model.safetensors')`
const TORCH: Kind = {
  what: 'a file of PyTorch (torch.save)',
  advice: "read it with io.torch.load('FILE')",
}
const NPZ: Kind = {
  what: 'a file of NumPy (.npz)',
  advice: `convert it ${SAVE_NUMPY("dict(numpy.load('FILE'))")}`,
}
const NPY: Kind = {
  what: 'an array of NumPy (.npy)',
  advice: `convert it ${SAVE_NUMPY("{'array': numpy.load('FILE')}")}`,
}
const KERAS: Kind = {
  what: 'a model of Keras (.keras)',
  advice: "read the model with models.fromKeras('FILE'), whose stateDict() are its weights",
}
const HDF5: Kind = {
  what: 'an HDF5 file (.h5, as of Keras)',
  advice: "read the model with models.fromKeras('FILE'), whose stateDict() are its weights",
}
const ONNX: Kind = {
  what: 'an ONNX model',
  advice: "read it with onnx.load('FILE')",
}
const PICKLE: Kind = {
  what: 'a pickle of Python (as torch.save wrote before 1.6)',
  advice:
    "write it again in Python: torch.save(torch.load('FILE', weights_only=True), 'new.pt'), and read that with io.torch.load",
}
const packed = (what: string, command: string): Kind => ({
  what: `compressed with ${what}`,
  advice: `unpack it first: ${command} FILE`,
})

/** By how files begin, each byte as one character. */
const BEGINNINGS: readonly [string, Kind][] = [
  ['\x1f\x8b', packed('gzip', 'gunzip')],
  ['BZh', packed('bzip2', 'bunzip2')],
  ['\xfd7zXZ\0', packed('xz', 'unxz')],
  ['\x28\xb5\x2f\xfd', packed('zstd', 'unzstd')],
  ['7z\xbc\xaf\x27\x1c', packed('7-Zip', '7z x')],
  ['\x89HDF\r\n\x1a\n', HDF5],
  ['\x93NUMPY', NPY],
  ['GGUF', { what: 'a GGUF file (llama.cpp)', advice: 'get the weights as safetensors' }],
  [
    'MATLAB 5.0',
    {
      what: 'a file of MATLAB (.mat)',
      advice: `convert it ${SAVE_NUMPY("{k: v for k, v in scipy.io.loadmat('FILE').items() if k[0] != '_'}")}`,
    },
  ],
  ['PAR1', { what: 'a Parquet file', advice: 'write its columns as text (CSV) or as safetensors' }],
  [
    'ARROW1',
    { what: 'an Arrow file', advice: 'write its columns as text (CSV) or as safetensors' },
  ],
  ['%PDF', { what: 'a PDF', advice: 'extract its text first: pdftotext FILE' }],
  [
    'version https://git-lfs.github.com/',
    { what: 'a pointer of Git LFS, not the file itself', advice: 'fetch it: git lfs pull' },
  ],
]

/** @param path for its ending @returns 'it is …; what to do', or null for what is not known */
export function fileKind(head: Uint8Array, path: string): string | null {
  const kind = kindOf(Buffer.from(head.subarray(0, HEAD_BYTES)).toString('latin1'), path)
  if (kind === null) return null
  return `it is ${kind.what}; ${kind.advice.replaceAll('FILE', path.replaceAll("'", "\\'"))}`
}

function kindOf(head: string, path: string): Kind | null {
  for (const [beginning, kind] of BEGINNINGS) if (head.startsWith(beginning)) return kind
  if (head.startsWith('PK\x03\x04')) return kindOfZip(head, path)
  const [first = 0, second = 0, third = 0] = Buffer.from(head.slice(0, 3), 'latin1')
  if (first === 0x80 && second >= 2 && second <= 5) return PICKLE
  if (head.slice(4, 8) === 'TFL3')
    return {
      what: 'a model of TensorFlow Lite',
      advice: 'get its weights from the model it was made of',
    }
  if (head.slice(257, 262) === 'ustar')
    return { what: 'an archive (tar)', advice: 'unpack it first: tar -xf FILE' }
  if (/^\s*<(!doctype html|html)/i.test(head))
    return { what: 'a web page', advice: 'the download gave a page in place of the file' }
  // Field 1, the version of the format, is a small number; then come the names of who wrote it.
  const named = [0x12, 0x1a, 0x3a].includes(third)
  if (first === 8 && second > 0 && second < 32 && (named || /\.onnx$/i.test(path))) return ONNX
  return null
}

/** What is in an archive shows in the name of its first file. */
function kindOfZip(head: string, path: string): Kind {
  const length = head.charCodeAt(26) + 256 * head.charCodeAt(27)
  const first = head.slice(30, 30 + length)
  if (/\.npy$/.test(first)) return NPZ
  if (
    /\/(data\.pkl|byteorder|version|\.format_version)$/.test(first) ||
    /\.(pt|pth|ckpt|bin)$/i.test(path)
  )
    return TORCH
  if (/\.keras$/i.test(path) || first === 'metadata.json') return KERAS
  return packed('zip', 'unzip')
}
