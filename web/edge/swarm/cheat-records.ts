/**
 * What a party keeps of cheats, in its journal. `cheat/<key>`: who was convicted, and by what. `cheat-tell/<key>`:
 * the event that no relay has taken yet. `cheat-author/<key>`: whose false proof was seen. `cheat-release/…`: what
 * releases that are out no longer are checked against.
 */
import * as v from 'valibot'
import { fromUtf8, utf8, type InfoHash, type PartyKey, type VendorId } from '../../core/bytes.ts'
import type { SignedRelease } from '../../core/exchange/accusation.ts'
import type { Cheat } from '../../core/exchange/cheats.ts'
import type { NostrEvent } from '../../core/nostr/event.ts'
import { infoHashSchema, msatSchema, partyKeySchema, sha256HexSchema } from '../../core/release/target.ts'
import { eventSchema } from '../nostr/wire.ts'
import type { Journal } from './api.ts'

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const cheatSchema = v.object({
  key: partyKeySchema,
  vendor: sha256HexSchema,
  infoHash: infoHashSchema,
  author: partyKeySchema,
  buyer: partyKeySchema,
  piece: count,
  block: count,
  paid: msatSchema,
  atMs: v.number(),
  from: v.picklist(['self', 'known', 'stranger']),
})
const ignoredSchema = v.object({ why: v.string(), atMs: v.number() })
const releaseSchema = v.object({ root: sha256HexSchema, length: count, pieceLength: count, atMs: v.number() })

export type KeptRelease = Readonly<{ vendor: VendorId; infoHash: InfoHash; release: SignedRelease }>

const lastPart = (key: string): string => key.slice(key.lastIndexOf('/') + 1)
const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value))

export const saveCheat = (journal: Journal, cheat: Cheat): Promise<void> =>
  journal.put(`cheat/${cheat.key}`, json(cheat))
export const dropCheat = (journal: Journal, key: PartyKey): Promise<void> => journal.delete(`cheat/${key}`)

export const saveUntold = (journal: Journal, key: PartyKey, event: NostrEvent): Promise<void> =>
  journal.put(`cheat-tell/${key}`, json(event))
export const dropUntold = (journal: Journal, key: PartyKey): Promise<void> =>
  journal.delete(`cheat-tell/${key}`)

export const saveIgnored = (journal: Journal, author: PartyKey, why: string, atMs: number): Promise<void> =>
  journal.put(`cheat-author/${author}`, json({ why, atMs }))
export const dropIgnored = (journal: Journal, author: PartyKey): Promise<void> =>
  journal.delete(`cheat-author/${author}`)

export function saveRelease(journal: Journal, kept: KeptRelease, atMs: number): Promise<void> {
  const { vendor, infoHash, release } = kept
  const { length, pieceLength } = release.shape
  return journal.put(
    `cheat-release/${vendor}/${infoHash}`,
    json({ root: release.root, length, pieceLength, atMs }),
  )
}
export const dropRelease = (journal: Journal, vendor: VendorId, infoHash: InfoHash): Promise<void> =>
  journal.delete(`cheat-release/${vendor}/${infoHash}`)

async function readAll<S extends v.GenericSchema>(
  journal: Pick<Journal, 'get' | 'keys'>,
  prefix: string,
  schema: S,
): Promise<{ key: string; value: v.InferOutput<S> }[]> {
  const all: { key: string; value: v.InferOutput<S> }[] = []
  for (const key of await journal.keys(prefix)) {
    const bytes = await journal.get(key)
    if (bytes === undefined) continue
    try {
      all.push({ key, value: v.parse(schema, JSON.parse(fromUtf8(bytes))) })
    } catch {
      // A record that does not read is none: what it said is heard again from the relays.
    }
  }
  return all
}

export const loadCheats = async (journal: Pick<Journal, 'get' | 'keys'>): Promise<Cheat[]> =>
  (await readAll(journal, 'cheat/', cheatSchema)).map(({ value }) => value).sort((a, b) => a.atMs - b.atMs)

export const loadUntold = async (journal: Journal): Promise<{ key: PartyKey; event: NostrEvent }[]> =>
  (await readAll(journal, 'cheat-tell/', eventSchema)).map(({ key, value }) => ({
    key: lastPart(key) as PartyKey,
    event: value,
  }))

export const loadIgnored = async (journal: Journal): Promise<[PartyKey, string][]> =>
  (await readAll(journal, 'cheat-author/', ignoredSchema))
    .sort((a, b) => a.value.atMs - b.value.atMs)
    .map(({ key, value }) => [lastPart(key) as PartyKey, value.why])

export async function loadReleases(journal: Journal): Promise<KeptRelease[]> {
  const rows = await readAll(journal, 'cheat-release/', releaseSchema)
  return rows
    .sort((a, b) => a.value.atMs - b.value.atMs)
    .map(({ key, value: { root, length, pieceLength } }) => ({
      vendor: (key.split('/')[1] ?? '') as VendorId,
      infoHash: lastPart(key) as InfoHash,
      release: { root, shape: { length, pieceLength } },
    }))
}

/** Proofs that downloads wrote down (`books.ts`), by seller. */
export async function ownProofs(
  journal: Journal,
): Promise<{ infoHash: InfoHash; seller: PartyKey; proof: Uint8Array }[]> {
  const found: { infoHash: InfoHash; seller: PartyKey; proof: Uint8Array }[] = []
  for (const key of await journal.keys('fraud/')) {
    const [, infoHash, seller] = key.split('/')
    const proof = await journal.get(key)
    if (infoHash !== undefined && seller !== undefined && proof !== undefined)
      found.push({ infoHash: infoHash as InfoHash, seller: seller as PartyKey, proof })
  }
  return found
}
