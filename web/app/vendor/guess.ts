/** Guesses product, version and hardware from a file's name: `gateway-os-2.4.1-rpi4.swu`. Only ever a suggestion. */

export type Guess = Readonly<{ product: string; version: string; hardware: readonly string[] }>

// A version starts after a separator and holds at least one dot; `v2.4.1` counts too.
const VERSION = /(?:^|[-_ ])v?(\d+(?:\.\d+)+(?:-(?:rc|alpha|beta)[.\d]*)?)(?=$|[-_ .+])/i
const ENDINGS =
  /(\.(tar|img|swu|raucb|mender|bin|hex|deb|rpm|zip|gz|xz|zst|bz2|iso|squashfs|ipk|apk|wic|uf2))+$/i

export function guess(fileName: string, knownHardware: readonly string[] = []): Guess {
  const stem = fileName.replace(ENDINGS, '').replace(/\.[A-Za-z][A-Za-z0-9]{0,7}$/, '')
  const found = VERSION.exec(stem)
  const before = found ? stem.slice(0, found.index) : stem
  const after = found ? stem.slice(found.index + found[0].length) : stem
  const words = after.toLowerCase().split(/[-_ .+]+/)
  const hardware = knownHardware.filter((id) => words.includes(id.toLowerCase()))
  const first = before
    .normalize('NFKD')
    .toLowerCase()
    .split(/[-_ ]+/)
    .filter((word) => found !== null || !hardware.some((id) => id.toLowerCase() === word))
    .join('-')
  const product = first
    .replace(/[^a-z0-9._-]+/g, '')
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 64)
  return { product, version: found?.[1] ?? '', hardware }
}

/** The next version after `last`, for a file whose name holds none: the last number rises by one. */
export function nextVersion(last: string): string {
  const found = /^(.*?)(\d+)(\D*)$/.exec(last.split('-')[0] ?? '')
  return found ? `${found[1]}${BigInt(found[2]!) + 1n}${found[3]}` : ''
}
