/**
 * TensorFlow's record files, in which TensorBoard keeps its events. A record is the length of its
 * data (8 bytes), a checksum of the length (4), the data, a checksum of the data (4); little-endian.
 */

/** The record that holds some data. */
export function tfRecord(data: Uint8Array): Uint8Array {
  const record = Buffer.alloc(data.length + 16)
  record.writeBigUInt64LE(BigInt(data.length))
  record.writeUInt32LE(maskedCrc(record.subarray(0, 8)), 8)
  record.set(data, 12)
  record.writeUInt32LE(maskedCrc(data), data.length + 12)
  return record
}

/** The data of every record in a file; a part of one more, which a crash may have left, is not among them. */
export function tfRecords(file: Uint8Array): Uint8Array[] {
  const view = Buffer.from(file.buffer, file.byteOffset, file.length)
  const records: Uint8Array[] = []
  for (let at = 0; at + 16 <= view.length; ) {
    const length = Number(view.readBigUInt64LE(at))
    if (length > view.length - at - 16) break
    records.push(view.subarray(at + 12, at + 12 + length))
    at += length + 16
  }
  return records
}

/** CRC-32C, turned and shifted, as a checksum of data that have checksums inside would be weak. */
function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data)
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0
}

/** CRC-32C of a byte, for each value of it; the polynomial is Castagnoli's, bits reversed. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of data) crc = (TABLE[(crc ^ byte) & 255] as number) ^ (crc >>> 8)
  return ~crc
}
