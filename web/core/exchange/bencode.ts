/**
 * Bencoding (BEP 3), strict: one value has one encoding. Keys sorted and unique, no leading zeros, no
 * trailing bytes; depth and size are bounded, so that a hostile frame costs nothing.
 */
import { concat, utf8, type Bytes } from '../bytes.ts'

export type BDict = { [key: string]: BValue }
export type BValue = number | string | Uint8Array | readonly BValue[] | BDict
/** What decoding gives: texts come back as bytes. */
export type Decoded = number | Bytes | Decoded[] | { [key: string]: Decoded }

export class BencodeError extends Error {
  override readonly name = 'BencodeError'
}

const MAX_DEPTH = 16
const MAX_ITEMS = 100_000

export function encode(value: BValue): Bytes {
  const parts: Uint8Array[] = []
  write(value, parts, 0)
  return concat(...parts)
}

function write(value: BValue, parts: Uint8Array[], depth: number): void {
  if (depth > MAX_DEPTH) throw new BencodeError('nested too deep')
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) throw new BencodeError(`not a safe integer: ${value}`)
    parts.push(utf8(`i${Object.is(value, -0) ? 0 : value}e`))
  } else if (typeof value === 'string') {
    const bytes = utf8(value)
    parts.push(utf8(`${bytes.length}:`), bytes)
  } else if (value instanceof Uint8Array) {
    parts.push(utf8(`${value.length}:`), value)
  } else if (Array.isArray(value)) {
    parts.push(utf8('l'))
    for (const item of value as readonly BValue[]) write(item, parts, depth + 1)
    parts.push(utf8('e'))
  } else {
    parts.push(utf8('d'))
    const dict = value as BDict
    for (const key of Object.keys(dict).sort(byBytes)) {
      const item = dict[key]
      if (item === undefined) continue
      write(key, parts, depth)
      write(item, parts, depth + 1)
    }
    parts.push(utf8('e'))
  }
}

/** Keys are compared as raw bytes. Ours are ASCII; for others UTF-16 order may differ, so compare UTF-8. */
function byBytes(a: string, b: string): number {
  const x = utf8(a)
  const y = utf8(b)
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const difference = (x[i] ?? 0) - (y[i] ?? 0)
    if (difference !== 0) return difference
  }
  return x.length - y.length
}

/** The whole of `bytes` is one value. @throws BencodeError */
export function decode(bytes: Uint8Array): Decoded {
  const [value, end] = decodePrefix(bytes)
  if (end !== bytes.length) throw new BencodeError('bytes after the end')
  return value
}

/** One value at the start of `bytes`, and where it ends: frames carry a payload behind it. @throws BencodeError */
export function decodePrefix(bytes: Uint8Array): [value: Decoded, end: number] {
  let at = 0
  let items = 0
  const value = read(0)
  return [value, at]

  function read(depth: number): Decoded {
    if (depth > MAX_DEPTH) throw new BencodeError('nested too deep')
    if (++items > MAX_ITEMS) throw new BencodeError('too many items')
    const head = bytes[at]
    if (head === undefined) throw new BencodeError('cut short')
    if (head === 0x69) return readInteger()
    if (head === 0x6c) {
      at++
      const list: Decoded[] = []
      while (bytes[at] !== 0x65) list.push(read(depth + 1))
      at++
      return list
    }
    if (head === 0x64) {
      at++
      const dict: { [key: string]: Decoded } = Object.create(null) as { [key: string]: Decoded }
      let previous: Uint8Array | undefined
      while (bytes[at] !== 0x65) {
        const key = readString()
        if (previous !== undefined && compare(previous, key) >= 0) throw new BencodeError('keys not sorted')
        previous = key
        dict[text(key)] = read(depth + 1)
      }
      at++
      return dict
    }
    return readString()
  }

  function readInteger(): number {
    const end = bytes.indexOf(0x65, at)
    if (end < 0 || end - at > 20) throw new BencodeError('integer cut short or too long')
    const digits = String.fromCharCode(...bytes.subarray(at + 1, end))
    if (!/^(0|-?[1-9][0-9]*)$/.test(digits)) throw new BencodeError('not an integer')
    const value = Number(digits)
    if (!Number.isSafeInteger(value)) throw new BencodeError('integer too large')
    at = end + 1
    return value
  }

  function readString(): Bytes {
    const colon = bytes.indexOf(0x3a, at)
    if (colon < 0 || colon - at > 10 || colon === at) throw new BencodeError('length cut short or too long')
    const digits = String.fromCharCode(...bytes.subarray(at, colon))
    if (!/^(0|[1-9][0-9]*)$/.test(digits)) throw new BencodeError('not a length')
    const length = Number(digits)
    const start = colon + 1
    if (start + length > bytes.length) throw new BencodeError('text cut short')
    at = start + length
    return bytes.slice(start, at) as Bytes
  }
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

function text(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new BencodeError('key is not UTF-8')
  }
}
