/** Tells the vendor how a release ended: the receipts to the mirror, the report, the attestation, late payments. */
import type { PartyKey, Sha256Hex } from '../../web/core/bytes.ts'
import { signEvent } from '../../web/core/nostr/event.ts'
import { ATTESTATION, REPORT, REPORT_ADDENDUM } from '../../web/core/nostr/kinds.ts'
import type { Blob, Event, Job } from '../../web/core/rollout/lifecycle.ts'
import { due } from '../../web/core/rollout/lifecycle.ts'
import type { Addendum, Report, SellerSum } from '../../web/core/rollout/messages.ts'
import { wrap } from '../../web/edge/nostr/nip59.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import { ApiError, putBlob } from '../../web/edge/release/api.ts'
import type { Journal } from '../../web/edge/swarm/api.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import type { Ports } from './ports.ts'
import type { RecordKeeper } from './record.ts'
import { mirrorBytesOf, resoldOf } from './sums.ts'
import {
  feesSum,
  paidRecords,
  paidSum,
  readReceiptsFile,
  receiptsPath,
  rootOfReceipts,
  sealBlob,
  sellerSums,
  untold,
  writeReceiptsFile,
  type ReceiptsFile,
} from './receipts.ts'

export type TellerDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  pool: Pool
  journal: Journal
  keeper: RecordKeeper
  vendorKey: () => PartyKey | undefined
  /** What a download of this process saw, for free pieces and rates. */
  seenSellers: (job: Job) => readonly SellerSum[]
  log: Logger
}>

/** Uploads of one release's receipts that are tried before the report goes without them. */
const MAX_UPLOADS = 10
const PUBLISH_TIMEOUT_MS = 30_000

/** Not told: try again later. The message says why. */
export class NotTold extends Error {
  override readonly name = 'NotTold'
}

export interface Teller {
  /** Does the next thing that is owed for a finished release. @throws NotTold */
  tell(job: Job): Promise<Event | undefined>
  /** Sends what settled after the report. @throws NotTold */
  tellLate(job: Job): Promise<void>
}

export function createTeller(deps: TellerDeps): Teller {
  const { config, ports, journal } = deps
  const uploads = new Map<string, number>()

  const need = (): PartyKey => {
    const key = deps.vendorKey()
    if (key === undefined)
      throw new NotTold('The vendor’s key is not known before its metadata has been seen.')
    return key
  }
  const nowS = (): number => Math.floor(ports.nowMs() / 1000)

  async function publish(event: Parameters<Pool['publish']>[0]): Promise<void> {
    try {
      await deps.pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS })
    } catch (error) {
      throw new NotTold(error instanceof Error ? error.message : String(error), { cause: error })
    }
  }

  /** The receipts file is written first: it fixes what the report is about, whatever settles meanwhile. */
  async function fixReceipts(job: Job): Promise<ReceiptsFile> {
    const path = receiptsPath(config.dataDir, job.release)
    const kept = await readReceiptsFile(path)
    if (kept !== undefined) return kept
    const records = await paidRecords(journal, job.release)
    const file: ReceiptsFile = {
      v: 1,
      vendor: config.vendor,
      device: config.identity.key,
      release: job.release,
      receipts: records.map((record) => record.receipt),
      windows: records.map((record) => record.row),
    }
    await writeReceiptsFile(config.dataDir, file)
    return file
  }

  async function sendReceipts(job: Job): Promise<Event> {
    const file = await fixReceipts(job)
    if (file.receipts.length === 0) return { tag: 'told', what: 'receipts', blob: undefined }
    const { bytes, key } = await sealBlob(file, ports.randomBytes)
    const troubles: string[] = []
    let refused = 0
    for (const relay of config.relays) {
      try {
        const sha256 = await putBlob(
          ports.fetch,
          relay,
          config.vendor,
          bytes,
          config.identity.secret,
          ports.nowMs(),
        )
        return { tag: 'told', what: 'receipts', blob: { sha256, key } }
      } catch (error) {
        if (!(error instanceof ApiError)) throw error
        troubles.push(error.message)
        if (error.status === 413 || error.status === 404) refused++
      }
    }
    const tries = (uploads.get(job.release.path) ?? 0) + 1
    uploads.set(job.release.path, tries)
    if (tries >= MAX_UPLOADS || refused === config.relays.length) {
      deps.log.warn({ troubles }, 'no mirror takes the receipts; the report goes without them')
      return { tag: 'told', what: 'receipts', blob: undefined }
    }
    throw new NotTold(troubles.join('; '))
  }

  async function sendReport(job: Job): Promise<Event> {
    const { phase, release } = job
    if (phase.tag !== 'done') throw new NotTold('It is not finished.')
    const vendor = need()
    const file = await fixReceipts(job)
    const blob: Blob | undefined = phase.told.receipts.tag === 'sent' ? phase.told.receipts.blob : undefined
    const written = deps.keeper.get().written[release.path]
    const mirrorBytes = await mirrorBytesOf(deps.journal, release)
    const report: Report = {
      v: 1,
      vendor: config.vendor,
      path: release.path,
      sha256: release.sha256,
      piecesRoot: release.piecesRoot,
      targetsVersion: release.targetsVersion,
      outcome: phase.outcome,
      ...(phase.reason === null ? {} : { reason: phase.reason }),
      announcedAt: job.announcedAt,
      startedAt: phase.startedAt,
      verifiedAt: phase.verifiedAt,
      finishedAt: phase.finishedAt,
      paidMsat: paidSum(file.windows),
      feesMsat: feesSum(file.windows),
      sellers: sellerSums(file.windows, deps.seenSellers(job)),
      receipts: file.receipts.length,
      receiptsRoot: rootOfReceipts(file.receipts),
      ...(blob === undefined ? {} : { blob }),
      ...(written === undefined ? {} : { writeFactor: Math.round((written / release.bytes) * 1000) / 1000 }),
      ...(mirrorBytes === 0 ? {} : { mirrorBytes }),
      ...(await resoldOf(journal, release)),
    }
    const template = {
      kind: REPORT,
      // Of the release's end, not of the sending: sent twice it is the same rumour.
      created_at: Math.floor(phase.finishedAt / 1000),
      tags: [['p', vendor]],
      content: JSON.stringify(report),
    }
    await publish(wrap(template, config.identity.secret, vendor, { nowS: nowS() }))
    return { tag: 'told', what: 'report' }
  }

  async function attest(job: Job): Promise<Event> {
    const { phase, release } = job
    if (phase.tag !== 'done') throw new NotTold('It is not finished.')
    const template = {
      kind: ATTESTATION,
      created_at: Math.floor(phase.finishedAt / 1000),
      tags: [
        ['L', 'satpatch'],
        ['l', phase.outcome, 'satpatch'],
        ['i', config.vendor],
        ['x', release.sha256],
        ['d', release.path],
      ],
      content: '',
    }
    await publish(signEvent(template, config.identity.secret, ports.randomBytes(32)))
    return { tag: 'told', what: 'attestation' }
  }

  return {
    async tell(job) {
      const action = due(job)
      if (action.tag !== 'tell') return undefined
      switch (action.what) {
        case 'receipts':
          return sendReceipts(job)
        case 'report':
          return sendReport(job)
        case 'attestation':
          return attest(job)
        default:
          return action.what satisfies never
      }
    },
    async tellLate(job) {
      if (job.phase.tag !== 'done' || !job.phase.told.report) return
      const file = await readReceiptsFile(receiptsPath(config.dataDir, job.release))
      if (file === undefined) return
      const records = untold(await paidRecords(journal, job.release), file)
      let told = file
      for (const { receipt, row } of records) {
        const vendor = need()
        const addendum: Addendum = {
          v: 1,
          vendor: config.vendor as Sha256Hex,
          path: job.release.path,
          receipt: { ...receipt },
          amountMsat: row.amountMsat,
          feesMsat: row.feesMsat,
        }
        const template = {
          kind: REPORT_ADDENDUM,
          created_at: Math.floor(row.doneAt / 1000),
          tags: [['p', vendor]],
          content: JSON.stringify(addendum),
        }
        await publish(wrap(template, config.identity.secret, vendor, { nowS: nowS() }))
        told = { ...told, receipts: [...told.receipts, { ...receipt }], windows: [...told.windows, row] }
        await writeReceiptsFile(config.dataDir, told)
        deps.log.info({ path: job.release.path, amountMsat: row.amountMsat }, 'late payment reported')
      }
    },
  }
}
