/** One-time codes that admit vendors. Only their hashes are kept, and each is spent by the admission that succeeds. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { base32nopad } from '@scure/base'
import * as v from 'valibot'
import { sha256Hex, utf8 } from '../../web/core/bytes.ts'
import { sha256HexSchema } from '../../web/core/release/target.ts'
import { readIfThere, writeAtomically } from '../files.ts'

/** Unspent codes that are kept; the oldest goes when one more is made. */
const MAX_CODES = 32

const fileSchema = v.object({
  v: v.literal(1),
  codes: v.array(v.object({ hash: sha256HexSchema, for: v.picklist(['first', 'further']) })),
})
export type CodeUse = 'first' | 'further'

export interface Admission {
  /** A new code. All codes `for` the first vendor end with its admission. */
  mint(use: CodeUse): Promise<string>
  isOpen(code: string): boolean
  spend(hash: string): Promise<void>
}

/** 128 random bits. Case and surrounding space do not matter when it is typed. */
export const hashOfCode = (code: string): string =>
  sha256Hex(utf8(`satpatch admission ${code.trim().toLowerCase()}`))

export async function openAdmission(dir: string): Promise<Admission> {
  const path = join(dir, 'admission.json')
  const text = await readIfThere(path)
  let { codes } = text
    ? v.parse(v.pipe(v.string(), v.parseJson(), fileSchema), text.toString('utf8'))
    : { codes: [] }
  const save = () => writeAtomically(path, JSON.stringify({ v: 1, codes }), { mode: 0o600 })
  return {
    async mint(use) {
      const code = base32nopad.encode(randomBytes(16)).toLowerCase()
      const hash = v.parse(sha256HexSchema, hashOfCode(code))
      codes = [...codes, { hash, for: use }].slice(-MAX_CODES)
      await save()
      return code
    },
    isOpen: (code) => codes.some(({ hash }) => hash === hashOfCode(code)),
    async spend(hash) {
      const spent = codes.find((code) => code.hash === hash)
      if (!spent) return
      codes = codes.filter((code) => code !== spent && (spent.for !== 'first' || code.for !== 'first'))
      await save()
    },
  }
}
