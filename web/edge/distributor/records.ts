/** What a distributor remembers in its journal: terms, what it carries, what had to go, what it earned. Parsed on the way in. */
import * as v from 'valibot'
import { fromUtf8, sha256Hex, toHex, utf8, type InfoHash, type VendorId } from '../../core/bytes.ts'
import { msat, type Money } from '../../core/money/msat.ts'
import { infoHashSchema, msatSchema, releaseSchema, sha256HexSchema } from '../../core/release/target.ts'
import { noEarnings, parseEarnings, type Earnings } from '../../core/swarm/carry-earnings.ts'
import type { TextStore } from '../release/store.ts'
import type { Journal } from '../swarm/api.ts'
import type { DistributorSettings, EvictedRow } from './api.ts'

const PREFIX = 'distributor/'
export const EVICTED_ROWS = 20
const GIB = 1024 ** 3

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0))
const text = (max: number) => v.pipe(v.string(), v.maxLength(max))

export const settingsSchema = v.object({
  price: msatSchema,
  diskLimitBytes: count,
  uploadBps: v.exactOptional(v.pipe(count, v.minValue(1))),
  downloadBps: v.exactOptional(v.pipe(count, v.minValue(1))),
  vendors: v.union([v.literal('all'), v.pipe(v.array(sha256HexSchema), v.maxLength(1000))]),
  spendPerRelease: msatSchema,
  pauseOn: v.object({ metered: v.boolean(), lowBattery: v.boolean() }),
})

/** Terms of a first start. Play money may be spent on a first copy; anybody's own sats are not touched unasked. */
export const defaultSettings = (money: Money): DistributorSettings => ({
  price: msat(1_000),
  diskLimitBytes: 4 * GIB,
  vendors: 'all',
  spendPerRelease: msat(money.startsWith('sandbox:') ? 100_000 : 0),
  pauseOn: { metered: false, lowBattery: false },
})

const carryRecordSchema = v.object({
  v: v.literal(1),
  vendor: sha256HexSchema,
  vendorName: text(80),
  /** As the vendor signed it; verified before it was written. */
  release: releaseSchema,
  takenAt: count,
})
export type CarryRecord = Readonly<v.InferOutput<typeof carryRecordSchema>>

const evictedSchema = v.array(
  v.object({
    infoHash: infoHashSchema,
    name: text(200),
    bytes: count,
    at: count,
    reason: v.picklist(['unfollowed', 'withdrawn', 'superseded', 'made room', 'limit lowered']),
  }),
)

export async function loadSettings(journal: Journal): Promise<DistributorSettings | undefined> {
  return read(journal, 'settings', settingsSchema)
}
export const saveSettings = (journal: Journal, settings: DistributorSettings): Promise<void> =>
  write(journal, 'settings', settings)

export async function loadCarried(journal: Journal): Promise<CarryRecord[]> {
  const keys = await journal.keys(`${PREFIX}carry/`)
  const records = await Promise.all(
    keys.map((key) => read(journal, key.slice(PREFIX.length), carryRecordSchema)),
  )
  return records.filter((record) => record !== undefined)
}
export const saveCarried = (journal: Journal, record: CarryRecord): Promise<void> =>
  write(journal, `carry/${record.release.infoHash}`, record)

/** Forgets a release and its metainfo; receipts and sellers' secrets are others' records and stay. */
export async function dropCarried(journal: Journal, infoHash: InfoHash): Promise<void> {
  await journal.delete(`${PREFIX}carry/${infoHash}`)
  await journal.delete(`${PREFIX}torrent/${infoHash}`)
}

export const loadTorrent = (journal: Journal, infoHash: InfoHash) =>
  journal.get(`${PREFIX}torrent/${infoHash}`)
export const saveTorrent = (journal: Journal, infoHash: InfoHash, torrent: Uint8Array): Promise<void> =>
  journal.put(`${PREFIX}torrent/${infoHash}`, torrent)

export const loadEvicted = async (journal: Journal): Promise<EvictedRow[]> =>
  (await read(journal, 'evicted', evictedSchema)) ?? []
export const saveEvicted = (journal: Journal, rows: readonly EvictedRow[]): Promise<void> =>
  write(journal, 'evicted', rows)

/** The calendar day where the distributor lives, `YYYY-MM-DD`. */
export function localDay(nowMs: number): string {
  const date = new Date(nowMs)
  const pad = (n: number) => String(n).padStart(2, '0')
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`
}

export async function loadEarnings(journal: Journal, nowMs: number): Promise<Earnings> {
  const bytes = await journal.get(`${PREFIX}earnings`)
  const stored = bytes && parseEarnings(textOf(bytes))
  return stored ?? noEarnings(localDay(nowMs), nowMs)
}
export const saveEarnings = (journal: Journal, earnings: Earnings): Promise<void> =>
  write(journal, 'earnings', earnings)

/** Trusted metadata of one vendor, in the journal: keys know fewer characters than names, and a file system fewer in all. */
export function metadataStore(journal: Journal, vendor: VendorId): TextStore {
  const key = (name: string) => {
    const bytes = utf8(name)
    return `${PREFIX}tuf/${vendor}/${bytes.length <= 32 ? toHex(bytes) : sha256Hex(bytes)}`
  }
  return {
    get: async (name) => {
      const bytes = await journal.get(key(name))
      return bytes && textOf(bytes)
    },
    put: (name, text) => journal.put(key(name), utf8(text)),
    delete: (name) => journal.delete(key(name)),
  }
}

async function read<Schema extends v.GenericSchema>(
  journal: Journal,
  key: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const bytes = await journal.get(PREFIX + key)
  if (!bytes) return undefined
  try {
    const parsed = v.safeParse(schema, JSON.parse(fromUtf8(bytes)))
    return parsed.success ? parsed.output : undefined
  } catch {
    return undefined
  }
}

const write = (journal: Journal, key: string, value: unknown): Promise<void> =>
  journal.put(PREFIX + key, utf8(JSON.stringify(value)))

/** Text that is not UTF-8 is not ours: it reads as empty and parses as nothing. */
function textOf(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes)
  } catch {
    return ''
  }
}
