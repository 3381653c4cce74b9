/**
 * Proposals of one vendor on disk: signed metadata that waits for more signatures. The relay adds up what several
 * people send and decides nothing; a proposal is named by its hash, and only who knows the name is given it.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { fromUtf8, parseSha256Hex, utf8, type Sha256Hex } from '../../web/core/bytes.ts'
import {
  filesWith,
  partsOf,
  type Files,
  type Need,
  type Proposal,
  type Published,
} from '../../web/core/release/proposal.ts'
import type { Signature } from '../../web/core/release/tuf.ts'
import { readIfThere, removeTemporaries, writeAtomically } from '../files.ts'

/** Kept for one vendor; the oldest goes when one more comes. */
const MAX_PROPOSALS = 32

export type Waiting = Readonly<{ id: Sha256Hex; needs: readonly Need[] }>

const fileSchema = v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.string()))

export interface Proposals {
  read(id: string): Promise<Files | undefined>
  /** `proposal` with the signatures that others have sent for the same; `assess` judges the sum again. */
  merged(proposal: Proposal, assess: (files: Files) => Proposal): Promise<Proposal>
  keep(proposal: Proposal): Promise<Waiting>
  /** Drops what a publication has overtaken. */
  prune(now: Published): Promise<void>
}

export async function openProposals(dir: string): Promise<Proposals> {
  await mkdir(dir, { recursive: true })
  await removeTemporaries(dir)
  const pathOf = (id: string) => join(dir, `${id}.json`)

  async function read(id: string): Promise<Files | undefined> {
    if (!parseSha256Hex(id)) return undefined
    const bytes = await readIfThere(pathOf(id))
    if (!bytes) return undefined
    const files = v.parse(fileSchema, bytes.toString('utf8'))
    return Object.fromEntries(Object.entries(files).map(([role, text]) => [role, utf8(text)]))
  }

  async function ids(): Promise<Sha256Hex[]> {
    const names = await readdir(dir)
    return names.map((name) => parseSha256Hex(name.replace(/\.json$/, ''))).filter((id) => id !== undefined)
  }

  return {
    read,
    async merged(proposal, assess) {
      const stored = await read(proposal.id)
      if (!stored) return proposal
      const before = assess(stored)
      const signatures = new Map<string, readonly Signature[]>(
        partsOf(before).map(([role, envelope]) => [role, envelope.signatures]),
      )
      return assess(filesWith(proposal, signatures))
    },
    async keep(proposal) {
      const { id, needs } = proposal
      const all = await ids()
      if (!all.includes(id) && all.length >= MAX_PROPOSALS) {
        const aged = await Promise.all(
          all.map(async (one) => ({ one, at: (await stat(pathOf(one))).mtimeMs })),
        )
        const [oldest] = aged.sort((a, b) => a.at - b.at)
        if (oldest) await rm(pathOf(oldest.one), { force: true })
      }
      const files = Object.entries(filesWith(proposal)).map(([role, bytes]) => [role, fromUtf8(bytes)])
      await writeAtomically(pathOf(id), JSON.stringify(Object.fromEntries(files)))
      return { id, needs }
    },
    async prune(now) {
      for (const id of await ids()) {
        const files = await read(id)
        const isOpen = files && Object.entries(files).every(([role, bytes]) => isNext(now, role, bytes))
        if (!isOpen) await rm(pathOf(id), { force: true })
      }
    },
  }
}

const versionSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.object({ signed: v.object({ version: v.number() }) }),
)

function isNext(now: Published, role: string, bytes: Uint8Array): boolean {
  const parsed = v.safeParse(versionSchema, fromUtf8(bytes))
  const current =
    role === 'root'
      ? now.root.version
      : role === 'targets'
        ? now.targets.signed.version
        : (now.delegated.get(role)?.signed.version ?? 0)
  return parsed.success && parsed.output.signed.version === current + 1
}
