/**
 * Confidential releases on a device: gets the signed list of wrapped keys like metadata, finds its own entry, and
 * decrypts what was bought beside it. The list that opened is kept, so that what was begun is ended without any mirror.
 */
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes } from '../../web/core/bytes.ts'
import { plainOf } from '../../web/core/release/confidential.ts'
import {
  releaseName,
  type Confidential,
  type KeysTarget,
  type Release,
} from '../../web/core/release/target.ts'
import type { Wait } from '../../web/core/rollout/lifecycle-wait.ts'
import { unwrapKey, type Unwrapped } from '../../web/edge/confidential/keys.ts'
import { fetchKeys, type Verified } from '../../web/edge/release/mirror.ts'
import type { DeviceConfig } from '../config/config.ts'
import { cryptFile } from '../storage/crypt-file.ts'
import { artifactPath, downloadDir, installPath } from '../storage/downloads.ts'
import { writeDurably } from '../storage/durable.ts'
import { storageError } from '../storage/errors.ts'
import type { Ports } from './ports.ts'
import type { RefusedBook } from './refused.ts'

export type OpenerDeps = Readonly<{
  config: DeviceConfig
  ports: Pick<Ports, 'fetch'>
  verified: () => Verified | undefined
  refused: Pick<RefusedBook, 'note'>
}>

export type Opened =
  | Readonly<{ tag: 'ok' }>
  | Readonly<{ tag: 'held'; wait: Wait }>
  | Readonly<{ tag: 'refused'; reason: string }>

/** Of releases that are not confidential it says that all is well. */
export interface Opener {
  /** Why this device cannot read it; asked before anything is bought. @throws StorageError */
  whyNot(release: Release): Promise<Wait | undefined>
  /** Decrypts the proven file into the one that is installed. May be asked again at any time. @throws StorageError */
  open(release: Release): Promise<Opened>
}

type Found = Readonly<{ tag: 'ok'; key: Bytes }> | Readonly<{ tag: 'held'; wait: Wait }>

export function createOpener({ config, ports, verified, refused }: OpenerDeps): Opener {
  /** Of the list that was read last: it is signed, so its answer stays the same. */
  let known: Readonly<{ sha256: string; unwrapped: Unwrapped }> | undefined
  const keptFile = (release: Release): string => join(downloadDir(config.dataDir, release), 'keys')

  /** The newest that the vendor signed: it may have been wrapped again meanwhile. */
  const listOf = (release: Release, { keys }: Confidential): KeysTarget =>
    verified()?.releases.find(({ path, sha256 }) => path === release.path && sha256 === release.sha256)
      ?.confidential?.keys ?? keys

  async function find(release: Release, confidential: Confidential): Promise<Found> {
    const kept = await readFile(keptFile(release)).catch(() => undefined)
    const before = kept && unwrapKey(kept, config.identity.secret)
    if (before?.tag === 'ok') return before
    const list = listOf(release, confidential)
    if (known?.sha256 !== list.sha256) {
      const bytes = await fetched(list)
      if (typeof bytes === 'string')
        return { tag: 'held', wait: { why: 'mirror', text: bytes.slice(0, 500) } }
      known = { sha256: list.sha256, unwrapped: unwrapKey(bytes, config.identity.secret) }
      if (known.unwrapped.tag === 'ok') await keep(release, bytes)
    }
    switch (known.unwrapped.tag) {
      case 'ok':
        return known.unwrapped
      case 'not-listed':
        return { tag: 'held', wait: { why: 'not-a-reader' } }
      case 'malformed': {
        const text = `the keys that the vendor signed for ${releaseName(release)} cannot be read; only the vendor can mend that`
        return { tag: 'held', wait: { why: 'trouble', text } }
      }
      default:
        return known.unwrapped satisfies never
    }
  }

  /** The list, or why no mirror has it, in words. */
  async function fetched(list: KeysTarget): Promise<Bytes | string> {
    const mirrors = [...config.relays, ...config.mirrors, ...(verified()?.vendorBlock.mirrors ?? [])]
    const troubles: string[] = []
    for (const mirror of new Set(mirrors)) {
      const result = await fetchKeys([mirror], config.vendor, list, ports.fetch)
      if (result.tag === 'ok') return result.bytes
      if (result.lie)
        refused.note(result.lie, mirror, `The list of keys is not the signed one. ${result.text}.`)
      troubles.push(result.text)
    }
    return `The list of keys cannot be fetched (${troubles.join('; ')}). It is tried again.`
  }

  async function keep(release: Release, bytes: Bytes): Promise<void> {
    const file = keptFile(release)
    try {
      await mkdir(downloadDir(config.dataDir, release), { recursive: true, mode: 0o700 })
      await writeDurably(file, bytes)
    } catch (error) {
      throw storageError(error, file)
    }
  }

  return {
    async whyNot(release) {
      const found = release.confidential && (await find(release, release.confidential))
      return found?.tag === 'held' ? found.wait : undefined
    },
    async open(release) {
      if (!release.confidential) return { tag: 'ok' }
      const found = await find(release, release.confidential)
      if (found.tag === 'held') return found
      const plain = installPath(config.dataDir, release)
      const sha256 = await cryptFile(artifactPath(config.dataDir, release), plain, found.key)
      if (sha256 === plainOf(release).sha256) return { tag: 'ok' }
      await rm(plain, { force: true })
      const reason = `decrypted, the file is not the one that the vendor signed: its SHA-256 is ${sha256}, signed is ${plainOf(release).sha256}`
      return { tag: 'refused', reason }
    },
  }
}
