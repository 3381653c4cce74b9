/** Proofs of fraud as files, `proofs/<seller’s key>.json` in the data directory: what `satpatch verify-proof` reads. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { PartyKey } from '../../web/core/bytes.ts'
import type { Proven } from '../../web/edge/swarm/cheats.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'

/** Others' proofs that are kept as files, some 30 KiB each; who is convicted is remembered beyond it. */
const MAX_FILES = 256

export const proofsDir = (dataDir: string): string => join(dataDir, 'proofs')
const proofPath = (dataDir: string, seller: PartyKey): string => join(proofsDir(dataDir), `${seller}.json`)

/** The file is the accusation's Nostr event. Gives its path, or `undefined` when there are enough. @throws StorageError */
export async function keepProof(dataDir: string, { cheat, event }: Proven): Promise<string | undefined> {
  const directory = proofsDir(dataDir)
  await makeDirectory(directory)
  if (cheat.from !== 'self' && (await proofFiles(dataDir)).length >= MAX_FILES) return undefined
  const path = proofPath(dataDir, cheat.key)
  const { id, pubkey, created_at, kind, tags, content, sig } = event
  try {
    await writeDurably(path, `${JSON.stringify({ id, pubkey, created_at, kind, tags, content, sig })}\n`)
  } catch (error) {
    throw storageError(error, path)
  }
  return path
}

async function proofFiles(dataDir: string): Promise<string[]> {
  try {
    return (await readdir(proofsDir(dataDir))).filter((name) => /^[0-9a-f]{64}\.json$/.test(name))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw storageError(error, proofsDir(dataDir))
  }
}
