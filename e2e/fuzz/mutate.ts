/** Draws hostile inputs: samples, changed a little or a lot, crossed with each other and with words that break parsers. */
import type { Random } from '../sim/random.ts'

const text = new TextEncoder()
/** Numbers at the edges, openers without an end, names that objects have of their own, marks that turn text around. */
const WORDS: readonly Uint8Array[] = [
  ...['-1', '0', '-0', '00', '1e400', '9007199254740993', '4294967296', '18446744073709551616', 'NaN'],
  ...['"__proto__"', '"constructor"', '"toString"', 'null', '[]', '{}', '""', '[[[[', '{"a":', ']]', '}}'],
  ...['i-0e', 'i99999999999999999999e', 'l', 'd', 'e', '0:', '99999999:', '-1:'],
  ...['\u202e', '\u0000', '\ud83d\ude00', '\n', '../', '%00', '&secret=', '?relay=', '1qqqq', 'e\u0301'],
].map((word) => text.encode(word))
const BYTES = [0, 1, 0x7f, 0x80, 0xc0, 0xff]

export const MAX_INPUT = 64 * 1024

/** One to eight changes to a sample or to one of what was found, as likely. */
export function mutate(
  samples: readonly Uint8Array[],
  found: readonly Uint8Array[],
  random: Random,
): Uint8Array {
  const corpus = found.length > 0 && random.u32() % 2 === 0 ? found : samples
  let bytes = pick(corpus, random)
  const changes = 1 + (random.u32() % 8)
  for (let i = 0; i < changes; i++) bytes = change(bytes, corpus, random)
  return bytes.subarray(0, MAX_INPUT)
}

const pick = <T>(from: readonly T[], random: Random): T => {
  const one = from[random.u32() % from.length]
  if (one === undefined) throw new RangeError('nothing to draw from')
  return one
}

function change(bytes: Uint8Array, corpus: readonly Uint8Array[], random: Random): Uint8Array {
  const at = random.u32() % (bytes.length + 1)
  const end = Math.min(bytes.length, at + 1 + (random.u32() % 64))
  switch (random.u32() % 9) {
    case 0: {
      const flipped = Uint8Array.from(bytes)
      if (at < flipped.length) flipped[at] = (flipped[at] ?? 0) ^ (1 << (random.u32() % 8))
      return flipped
    }
    case 1:
      return join(bytes.subarray(0, at), Uint8Array.of(pick(BYTES, random)), bytes.subarray(at))
    case 2:
      return join(bytes.subarray(0, at), bytes.subarray(end))
    case 3:
      return join(bytes.subarray(0, end), bytes.subarray(at, end), bytes.subarray(end))
    case 4: {
      const other = pick(corpus, random)
      return join(bytes.subarray(0, at), other.subarray(random.u32() % (other.length + 1)))
    }
    case 5:
      return join(bytes.subarray(0, at), pick(WORDS, random), bytes.subarray(end))
    case 6:
      return bytes.subarray(0, at)
    case 7: {
      // A number in place of a number.
      const digits = [...latin1(bytes).matchAll(/\d+/g)]
      const found = digits.length === 0 ? undefined : pick(digits, random)
      if (found === undefined) return bytes
      const from = found.index
      return join(
        bytes.subarray(0, from),
        pick(WORDS.slice(0, 9), random),
        bytes.subarray(from + found[0].length),
      )
    }
    default: {
      const times = 1 << (random.u32() % 12)
      const part = bytes.subarray(at, Math.min(end, at + 8))
      return join(bytes.subarray(0, at), ...Array.from({ length: times }, () => part), bytes.subarray(end))
    }
  }
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}
