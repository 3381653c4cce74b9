/** Wraps an artifact's key for each reader (NIP-44 version 2), and finds and opens one's own entry. */
import { decrypt, encrypt, getConversationKey } from '#nip44'
import type { Bytes, PartyKey } from '../../core/bytes.ts'
import { publicKey, type SecretKey } from '../../core/nostr/event.ts'
import {
  buildKeysFile,
  entryName,
  senderEntryName,
  keyText,
  parseKeyText,
  readKeysFile,
  type KeyEntry,
} from '../../core/release/confidential.ts'

export type WrapJob = Readonly<{
  key: Bytes
  readers: readonly PartyKey[]
  /** Made for this one list: no key that lives on opens it, but its readers'. */
  sender: SecretKey
  /** A reader who may also learn who the others are (`readersOf`): the vendor. */
  keeper?: PartyKey
}>
export type WrapKeys = (job: WrapJob) => Promise<Bytes>

/** Milliseconds each in a browser. The parts of a job can be done apart, and in any order. */
export const wrapEntries = ({ key, readers, sender }: WrapJob): KeyEntry[] =>
  readers.map((reader) => {
    const conversation = getConversationKey(sender, reader)
    return { name: entryName(conversation), payload: encrypt(keyText(key), conversation) }
  })

/** `parts` jobs, or fewer, that have each reader once. */
export function partsOfJob(job: WrapJob, parts: number): WrapJob[] {
  const readers = [...new Set(job.readers)]
  const each = Math.max(1, Math.ceil(readers.length / Math.max(1, parts)))
  return Array.from({ length: Math.ceil(readers.length / each) }, (_, part) => ({
    ...job,
    readers: readers.slice(part * each, (part + 1) * each),
  }))
}

/** The list, as it is signed. */
export function keysFileOf(
  { sender, keeper }: Pick<WrapJob, 'sender' | 'keeper'>,
  entries: readonly KeyEntry[],
): Bytes {
  if (keeper === undefined) return buildKeysFile(publicKey(sender), entries)
  const conversation = getConversationKey(sender, keeper)
  const own = {
    name: senderEntryName(conversation),
    payload: encrypt(keyText(sender as Bytes), conversation),
  }
  return buildKeysFile(publicKey(sender), [...entries, own])
}

/** Readers that are wrapped for at a stretch, where all else waits meanwhile. */
const READERS_A_TURN = 100
const turnOfOthers = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))

/** All of it on this thread, with turns for others in between: sockets do not go stale over it. */
export async function wrapKeys(job: WrapJob): Promise<Bytes> {
  const entries: KeyEntry[] = []
  for (const part of partsOfJob(job, Math.ceil(job.readers.length / READERS_A_TURN))) {
    entries.push(...wrapEntries(part))
    await turnOfOthers()
  }
  return keysFileOf(job, entries)
}

/**
 * For whom of `candidates` a list was made; for its keeper alone, with turns for others in between. `undefined`: it does
 * not say, or not to this key. Never throws.
 */
export async function readersOf(
  file: Uint8Array,
  keeper: SecretKey,
  candidates: readonly PartyKey[],
): Promise<readonly PartyKey[] | undefined> {
  const list = readKeysFile(file)
  if (!list) return undefined
  try {
    const own = getConversationKey(keeper, list.sender)
    const told = list.find(senderEntryName(own))
    const sender = told === undefined ? undefined : parseKeyText(decrypt(told, own))
    if (!sender || publicKey(sender) !== list.sender) return undefined
    const readers: PartyKey[] = []
    for (const [i, candidate] of candidates.entries()) {
      if (i % READERS_A_TURN === 0) await turnOfOthers()
      if (list.find(entryName(getConversationKey(sender, candidate))) !== undefined) readers.push(candidate)
    }
    return readers
  } catch {
    return undefined
  }
}

export type Unwrapped =
  | Readonly<{ tag: 'ok'; key: Bytes }>
  /** Enrolled later, or revoked before. */
  | Readonly<{ tag: 'not-listed' }>
  /** Signed, and yet no list, or an entry that does not open: the vendor's fault. */
  | Readonly<{ tag: 'malformed' }>

/** Never throws. */
export function unwrapKey(file: Uint8Array, reader: SecretKey): Unwrapped {
  const list = readKeysFile(file)
  if (!list) return { tag: 'malformed' }
  try {
    const conversation = getConversationKey(reader, list.sender)
    const payload = list.find(entryName(conversation))
    if (payload === undefined) return { tag: 'not-listed' }
    const key = parseKeyText(decrypt(payload, conversation))
    return key ? { tag: 'ok', key } : { tag: 'malformed' }
  } catch {
    return { tag: 'malformed' }
  }
}
