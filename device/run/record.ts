/** The device's record on disk (`state.json`): every change is durable before anybody sees it. */
import { access, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as v from 'valibot'
import type { VendorId } from '../../web/core/bytes.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { deviceRecordSchema, newRecord, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, StorageError, storageError } from '../storage/errors.ts'

export interface RecordKeeper extends Live<DeviceRecord> {
  /** Changes come one after the other; a change that gives back the same object writes nothing. */
  update(change: (record: DeviceRecord) => DeviceRecord): Promise<void>
}

/** The message says what to do. */
export class RecordError extends Error {
  override readonly name = 'RecordError'
  readonly code: 'other-vendor' | 'damaged'
  constructor(code: 'other-vendor' | 'damaged', message: string) {
    super(message)
    this.code = code
  }
}

const RETRY_MS = 5000
/** Given up when the disk is full, so that the record can still say so: several times the largest record. */
const RESERVE_BYTES = 256 * 1024
export const recordFile = (dataDir: string): string => join(dataDir, 'state.json')
const reserveFile = (dataDir: string): string => join(dataDir, 'state.reserve')

/** `undefined` when the device has never run. @throws RecordError, StorageError */
export async function readRecord(dataDir: string): Promise<DeviceRecord | undefined> {
  const path = recordFile(dataDir)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, path)
  }
  try {
    return v.parse(deviceRecordSchema, JSON.parse(text)) as DeviceRecord
  } catch {
    throw new RecordError(
      'damaged',
      `${path} is not a record that this version can read. Keep a copy of it, then start afresh with "satpatch device init --reset"; the installed files and receipts stay.`,
    )
  }
}

export type KeeperOptions = Readonly<{
  dataDir: string
  vendor: VendorId
  signal: AbortSignal
  onTrouble: (text: string) => void
}>

/** Opens or begins the record, bound to `vendor`. @throws RecordError when it is bound to another one */
export async function openRecord(options: KeeperOptions): Promise<RecordKeeper> {
  const { dataDir, vendor, signal } = options
  await makeDirectory(dataDir)
  const kept = await readRecord(dataDir)
  if (kept !== undefined && kept.vendor !== vendor) {
    throw new RecordError('other-vendor', boundText(dataDir, kept.vendor, vendor))
  }
  const cell = liveCell(kept ?? newRecord(vendor))
  let tail: Promise<void> = Promise.resolve()

  /** What fails passes: until then nothing is acted on, since nothing can be written down. */
  async function write(record: DeviceRecord): Promise<void> {
    for (;;) {
      try {
        await writeWithReserve(dataDir, JSON.stringify(record))
        return await reserve(dataDir)
      } catch (error) {
        options.onTrouble(error instanceof Error ? error.message : String(error))
        await delay(RETRY_MS, undefined, { signal })
      }
    }
  }
  if (kept === undefined) await writeDurably(recordFile(dataDir), JSON.stringify(cell.get()))
  await reserve(dataDir)

  return {
    get: cell.get,
    subscribe: cell.subscribe,
    update(change) {
      const run = async (): Promise<void> => {
        signal.throwIfAborted()
        const next = change(cell.get())
        if (next === cell.get()) return
        await write(next)
        cell.set(next)
      }
      const done = tail.then(run, run)
      tail = done.catch(() => undefined)
      return done
    },
  }
}

async function writeWithReserve(dataDir: string, text: string): Promise<void> {
  const path = recordFile(dataDir)
  try {
    await writeDurably(path, text)
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'disk-full') throw error
    await rm(reserveFile(dataDir), { force: true })
    await writeDurably(path, text)
  }
}

/** Takes the reserve where it is not there and there is room for it. */
async function reserve(dataDir: string): Promise<void> {
  const path = reserveFile(dataDir)
  const there = await access(path).then(
    () => true,
    () => false,
  )
  if (there) return
  await writeFile(path, new Uint8Array(RESERVE_BYTES), { mode: 0o600 }).catch(() => rm(path, { force: true }))
}

export const boundText = (dataDir: string, bound: string, asked: string): string =>
  `This device is bound to the vendor ${bound.slice(0, 16)}… and takes nothing from ${asked.slice(0, 16)}…. ` +
  `To hand it over, run "satpatch device init --reset" with the new vendor’s code; the record in ${dataDir} is kept beside.`
