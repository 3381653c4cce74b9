/** Who can read confidential releases: their keys wrapped for the devices that are enrolled, and again for later ones. */
import { sha256Hex, type Bytes, type PartyKey } from '../../core/bytes.ts'
import { targetPath } from '../../core/release/announce.ts'
import { keysPathOf, MAX_READERS } from '../../core/release/confidential.ts'
import type { KeysTarget } from '../../core/release/target.ts'
import { readersOf, unwrapKey, wrapKeys } from '../confidential/keys.ts'
import { putBlob } from '../release/api.ts'
import { fetchKeys } from '../release/mirror.ts'
import { VendorError, type NewRelease, type Vendor } from './api.ts'
import type { Engine } from './engine.ts'
import { normalised } from './form.ts'
import { rethrow } from './signing.ts'

const ROSTER_TIMEOUT_MS = 20_000

/** The lists for those of `wanted` that are confidential, wrapped and uploaded. @throws VendorError */
export async function wrapNew(
  engine: Engine,
  wanted: readonly NewRelease[],
): Promise<ReadonlyMap<NewRelease, KeysTarget>> {
  const lists = new Map<NewRelease, KeysTarget>()
  for (const one of wanted) {
    if (!one.confidential) continue
    const { product, version, fileName } = normalised(one.form)
    const path = keysPathOf(targetPath(product, version, fileName))
    lists.set(one, await wrapAndPut(engine, path, one.confidential.key))
  }
  return lists
}

async function wrapAndPut(engine: Engine, path: string, key: Bytes): Promise<KeysTarget> {
  const { deps } = engine
  const readers = [...(await enrolled(engine)), deps.keys.nostr.key]
  if (readers.length >= MAX_READERS) {
    const text = `A list of keys has room for ${MAX_READERS} devices. Nothing was published.`
    throw new VendorError('too-large', text)
  }
  const keeper = deps.keys.nostr.key
  const list = await (deps.wrapKeys ?? wrapKeys)({ key, readers, sender: deps.random(32), keeper })
  const { vendor } = engine.need()
  await putBlob(deps.fetch, deps.relayUrl, vendor, list, deps.keys.nostr.secret, deps.nowMs()).catch(rethrow)
  return { path, bytes: list.length, sha256: sha256Hex(list) }
}

async function enrolled({ deps, need, standing }: Engine): Promise<PartyKey[]> {
  const { roster } = need()
  if (standing.verified()?.vendorBlock.nostr !== deps.keys.nostr.key) {
    const text =
      'Only who has the vendor’s own Nostr key knows which devices are enrolled, and can wrap keys for them. Publish it with the vendor’s own keys, or unencrypted.'
    throw new VendorError('not-signer', text)
  }
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    const text = 'The list of your devices has not come from the relay. Nothing was published; try again.'
    timer = setTimeout(() => reject(new VendorError('unreachable', text)), ROSTER_TIMEOUT_MS)
  })
  await Promise.race([roster.stored, late]).finally(() => clearTimeout(timer))
  return roster.roster
    .get()
    .devices.filter(({ revokedAt }) => revokedAt === undefined)
    .map(({ key }) => key)
}

export function createReaders(engine: Engine): Pick<Vendor, 'wrapAgain' | 'readers'> {
  const { deps, standing, announcing, inTurn, need, change } = engine
  const ownKeys = () => [deps.keys.nostr, ...(deps.keys.formerNostr ?? [])].map(({ secret }) => secret)

  /** The list of a confidential release as it is signed now. @throws VendorError */
  async function listOf(path: string): Promise<Readonly<{ keys: KeysTarget; bytes: Bytes }>> {
    const { vendor } = need()
    const keys = standing.verified()?.releases.find((one) => one.path === path)?.confidential?.keys
    if (!keys)
      throw new VendorError(
        'unknown-release',
        'This release is not out, or is not encrypted. Reload the page.',
      )
    const fetched = await fetchKeys([deps.relayUrl], vendor, keys, deps.fetch)
    if (fetched.tag === 'ok') return { keys, bytes: fetched.bytes }
    const text = `The release's wrapped keys cannot be fetched: ${fetched.text}. Nothing was changed.`
    throw new VendorError('unreachable', text)
  }

  return {
    async readers(path) {
      const { bytes } = await listOf(path)
      const members = need()
        .roster.roster.get()
        .devices.map(({ key }) => key)
      for (const secret of ownKeys()) {
        const readers = await readersOf(bytes, secret, members)
        if (readers) return readers
      }
      const text =
        'The list of this release’s keys does not say to the keys that are here for whom it was made.'
      throw new VendorError('not-signer', text)
    },

    wrapAgain: (path) =>
      inTurn(async () => {
        const { keys, bytes } = await listOf(path)
        const own = ownKeys()
          .map((secret) => unwrapKey(bytes, secret))
          .find(({ tag }) => tag === 'ok')
        if (own?.tag !== 'ok') {
          const text =
            'The key of this release was not wrapped for the keys that are here. Publish a new version instead; nothing was changed.'
          throw new VendorError('not-signer', text)
        }
        const next = await wrapAndPut(engine, keys.path, own.key)
        const { verified } = await change((draft) => ({
          ...draft,
          entries: draft.entries.map((entry) => (entry.path === path ? { ...entry, keys: next } : entry)),
        }))
        standing.adopt(verified)
        const release = verified.releases.find((one) => one.path === path)
        if (release) await announcing.tell(release, 'live', verified.targetsVersion)
      }),
  }
}
