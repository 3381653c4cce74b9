/** The release mirror: every admitted vendor's repository, torrents and the fleet's encrypted receipts, on disk. */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import * as v from 'valibot'
import { parseSha256Hex, type InfoHash, type Sha256Hex, type VendorId } from '../../web/core/bytes.ts'
import { decode, encode } from '../../web/core/exchange/bencode.ts'
import { vendorId, verifyFirstRoot, verifyTargets } from '../../web/core/release/repository.ts'
import { MAX_TORRENT_BYTES } from '../../web/core/swarm/metainfo.ts'
import { codeOf } from '../errors.ts'
import {
  fastSha1,
  fastSha256,
  readIfThere,
  removeTemporaries,
  syncDirectory,
  writeAtomically,
} from '../files.ts'
import { HttpError } from '../http/http.ts'
import { hashOfCode, openAdmission, type Admission } from './admission.ts'
import {
  createRepositoryFiles,
  openRepository,
  type RelaySigners,
  type VendorRepository,
} from './repository.ts'

/** What one mirror stores, at most. */
export const mirrorLimits = {
  vendors: 1000,
  torrentBytes: MAX_TORRENT_BYTES,
  torrentsPerVendor: 10_000,
  blobBytes: 8 * 1024 * 1024,
  blobBytesPerVendor: 4 * 1024 * 1024 * 1024,
  refreshIntervalMs: 10 * 60_000,
} as const

export interface Vendor extends VendorRepository {
  torrent(infoHash: InfoHash): Promise<Uint8Array | undefined>
  putTorrent(infoHash: InfoHash, bytes: Uint8Array): Promise<void>
  blob(hash: Sha256Hex): Promise<Uint8Array | undefined>
  putBlob(hash: Sha256Hex, bytes: Uint8Array): Promise<void>
}

export interface Mirror {
  readonly admission: Admission
  vendor(id: string): Vendor | undefined
  vendors(): readonly Vendor[]
  /** @throws HttpError; the code is spent only on success, and the same admission may be sent twice. */
  admit(code: string, root: Uint8Array, targets: Uint8Array): Promise<VendorId>
  /** 'ok', or what is wrong. */
  health(): string
  stop(): Promise<void>
}

type Deps = Readonly<{
  dataDir: string
  signers: RelaySigners
  nowMs: () => number
  onError: (error: unknown, vendor: VendorId) => void
}>

const ADMITTED_BY = 'admitted-by.json'
const admittedBySchema = v.pipe(v.string(), v.parseJson(), v.object({ codeHash: v.string() }))

export async function openMirror(deps: Deps): Promise<Mirror> {
  const { signers, nowMs } = deps
  const dir = join(deps.dataDir, 'mirror')
  const vendorsDir = join(dir, 'vendors')
  await mkdir(vendorsDir, { recursive: true })
  const admission = await openAdmission(dir)
  const vendors = new Map<VendorId, Vendor>()
  const troubles = new Map<VendorId, string>()
  let admitting: Promise<unknown> = Promise.resolve()

  await removeTemporaries(vendorsDir)
  for (const name of await readdir(vendorsDir)) {
    const id = parseSha256Hex(name)
    if (!id) continue
    vendors.set(id, await openVendor(join(vendorsDir, name), id, signers, nowMs))
    // A crash between an admission and the spending of its code ends here.
    await admission.spend((await admittedBy(id)) ?? '')
  }
  await refreshAll()
  const timer = setInterval(() => void refreshAll(), mirrorLimits.refreshIntervalMs)
  timer.unref()

  async function admittedBy(id: VendorId): Promise<string | undefined> {
    const text = await readIfThere(join(vendorsDir, id, ADMITTED_BY))
    return text ? v.parse(admittedBySchema, text.toString('utf8')).codeHash : undefined
  }

  async function refreshAll(): Promise<void> {
    for (const [id, vendor] of vendors) {
      try {
        await vendor.refresh()
        troubles.delete(id)
      } catch (error) {
        troubles.set(
          id,
          codeOf(error) === 'ENOSPC' ? 'the disk is full' : 'metadata could not be signed again',
        )
        deps.onError(error, id)
      }
    }
  }

  async function admit(code: string, root: Uint8Array, targets: Uint8Array): Promise<VendorId> {
    const id = vendorId(root)
    const codeHash = hashOfCode(code)
    if (vendors.has(id) && (await admittedBy(id)) === codeHash) return id // the answer was lost, not the admission
    if (!admission.isOpen(code)) {
      const text =
        'This one-time code is unknown or has been used. Ask whoever runs the relay for a new link.'
      throw new HttpError(403, 'code-invalid', text)
    }
    if (vendors.has(id))
      throw new HttpError(409, 'vendor-known', 'This vendor has been admitted already. Go on publishing.')
    if (vendors.size >= mirrorLimits.vendors) {
      throw new HttpError(
        507,
        'mirror-full',
        `This relay serves ${mirrorLimits.vendors} vendors already. Use another.`,
      )
    }
    const keys = { snapshot: signers.snapshot.public, timestamp: signers.timestamp.public }
    const first = verifyFirstRoot(root, keys, nowMs())
    const verified = first.tag === 'ok' ? verifyTargets(first.value.signed, targets, 0, nowMs()) : first
    if (verified.tag === 'refused') {
      const { tag, text } = verified.refusal
      throw new HttpError(422, `refused-${tag}`, `${text} The code has not been used up.`)
    }
    const temporary = join(vendorsDir, `.tmp-${randomBytes(8).toString('hex')}`)
    try {
      await createRepositoryFiles(temporary, signers, root, targets, nowMs())
      await writeAtomically(join(temporary, ADMITTED_BY), JSON.stringify({ codeHash }), { mode: 0o600 })
      await rename(temporary, join(vendorsDir, id))
    } catch (error) {
      await rm(temporary, { recursive: true, force: true })
      throw error
    }
    await syncDirectory(vendorsDir)
    vendors.set(id, await openVendor(join(vendorsDir, id), id, signers, nowMs))
    await admission.spend(codeHash)
    return id
  }

  return {
    admission,
    vendor: (id) => vendors.get(id as VendorId),
    vendors: () => [...vendors.values()],
    admit(code, root, targets) {
      const turn = admitting.then(() => admit(code, root, targets))
      admitting = turn.catch(() => undefined)
      return turn
    },
    health() {
      const stale = [...vendors.values()].find((vendor) => vendor.freshUntilMs <= nowMs())
      if (stale) return `the metadata of vendor ${stale.id.slice(0, 8)} has expired`
      for (const [id, trouble] of troubles) return `vendor ${id.slice(0, 8)}: ${trouble}`
      return 'ok'
    },
    async stop() {
      clearInterval(timer)
      await admitting
      await Promise.allSettled([...vendors.values()].map((vendor) => vendor.refresh()))
    },
  }
}

async function openVendor(
  dir: string,
  id: VendorId,
  signers: RelaySigners,
  nowMs: () => number,
): Promise<Vendor> {
  const repository = await openRepository({ dir, id, signers, nowMs })
  const torrents = join(dir, 'torrents')
  const blobs = join(dir, 'blobs')
  for (const directory of [torrents, blobs, join(dir, 'metadata')]) await removeTemporaries(directory)
  let torrentCount = (await readdir(torrents)).length
  let blobBytes = 0
  for (const name of await readdir(blobs)) blobBytes += (await stat(join(blobs, name))).size

  const own = {
    torrent: (infoHash: InfoHash) => readIfThere(join(torrents, `${infoHash}.torrent`)),
    async putTorrent(infoHash: InfoHash, bytes: Uint8Array) {
      if (infoHashOf(bytes) !== infoHash) {
        throw new HttpError(
          422,
          'wrong-info-hash',
          'The torrent has another info-hash than its name says. Nothing was stored.',
        )
      }
      if (torrentCount >= mirrorLimits.torrentsPerVendor) {
        throw new HttpError(
          507,
          'mirror-full',
          `This relay keeps ${torrentCount} torrents of yours and takes no more.`,
        )
      }
      const isNew = !(await own.torrent(infoHash))
      await writeAtomically(join(torrents, `${infoHash}.torrent`), bytes)
      if (isNew) torrentCount++
    },
    blob: (hash: Sha256Hex) => readIfThere(join(blobs, hash)),
    async putBlob(hash: Sha256Hex, bytes: Uint8Array) {
      if (fastSha256(bytes) !== hash) {
        throw new HttpError(
          422,
          'wrong-hash',
          'The bytes have another SHA-256 than their name says. Nothing was stored.',
        )
      }
      if (await own.blob(hash)) return
      if (blobBytes + bytes.length > mirrorLimits.blobBytesPerVendor) {
        throw new HttpError(
          507,
          'mirror-full',
          'This relay has no room left for receipts of this fleet. Keep yours and try later.',
        )
      }
      // Room is taken while it is written, and given back when that fails: a full disk fills no quota.
      blobBytes += bytes.length
      await writeAtomically(join(blobs, hash), bytes).catch((error: unknown) => {
        blobBytes -= bytes.length
        throw error
      })
    },
  }
  // The repository's getters stay live: a spread would freeze them.
  return Object.assign(Object.create(repository) as VendorRepository, own)
}

/** SHA-1 of the torrent's `info` (BEP 3); our bencoding is strict, so encoding it again gives the same bytes. */
function infoHashOf(torrent: Uint8Array): string | undefined {
  try {
    const meta = decode(torrent)
    if (typeof meta !== 'object' || Array.isArray(meta) || meta instanceof Uint8Array) return undefined
    const info = meta['info']
    return info === undefined ? undefined : fastSha1(encode(info))
  } catch {
    return undefined
  }
}
