/**
 * `satpatch device run`: takes what the vendor signed, buys it, installs it, reports it. What to do comes from
 * `core/rollout/lifecycle.ts`; here it is done, one step at a time, each state on disk before it is acted on.
 */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { PartyKey } from '../../web/core/bytes.ts'
import { convictedText } from '../../web/core/exchange/cheats.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { releaseName } from '../../web/core/release/target.ts'
import type { KioskView } from '../../web/core/rollout/kiosk.ts'
import { current, takenUp, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { due, isActive, resume, type Job } from '../../web/core/rollout/lifecycle.ts'
import { keepingRoots } from '../../web/edge/release/handed.ts'
import type { Swarm } from '../../web/edge/swarm/api.ts'
import { createCheats } from '../../web/edge/swarm/cheats.ts'
import { createRateLimit } from '../../web/edge/swarm/rate-limit.ts'
import type { DeviceConfig } from '../config/config.ts'
import { showing } from '../kiosk/showing.ts'
import { asEventLog, type Logger } from '../log.ts'
import { openJournal } from '../storage/journal.ts'
import { openTextStore } from '../storage/text-store.ts'
import { createBuying } from './buying.ts'
import { createOpener } from './confidential.ts'
import { createEnrolment } from './enrolment.ts'
import { createFunds } from './funds.ts'
import { createInstalling } from './installing.ts'
import { createJobs } from './jobs.ts'
import { readJoinState } from './join-state.ts'
import { allowanceClient } from './joining.ts'
import { lockDirectory } from './lock.ts'
import { createLooker } from './looker.ts'
import { networkOf } from './network.ts'
import type { Ports } from './ports.ts'
import { createProgressTeller } from './progress.ts'
import { keepProof } from './proofs.ts'
import { createPurchases } from './purchases.ts'
import { openRecord } from './record.ts'
import { openRefused } from './refused.ts'
import { createTeller } from './teller.ts'
import { tellAll } from './telling.ts'
import { progressOf, snapshotOf, type DeviceSnapshot, type ViewDeps } from './view.ts'
import { createWake } from './wake.ts'

export type { DeviceSnapshot } from './view.ts'

export interface RunningDevice extends Live<DeviceSnapshot> {
  readonly key: PartyKey
  readonly record: Live<DeviceRecord>
  /** For the device's own screen; changes when the snapshot does. */
  showing(): Promise<KioskView>
  /** Looks at the mirrors now. */
  look(): void
  /** Leaves everything so that the next start takes it up. */
  stop(): Promise<void>
}

export type RunOptions = Readonly<{ config: DeviceConfig; log: Logger; ports: Ports }>

/** Longest sleep of a loop that is woken by events; a lost one costs no more. */
const LONG_SLEEP_MS = 60_000
/** A device that stops waits this long for answers of its relay and its wallet. */
const LAST_WORD_MS = 1_000

/** Starts the device. @throws LockedError, RecordError, StorageError, WalletError when it cannot run here */
export async function runDevice({ config, log, ports }: RunOptions): Promise<RunningDevice> {
  const stopper = new AbortController()
  const { signal } = stopper
  const { dataDir } = config
  const keeper = await openRecord({
    dataDir,
    vendor: config.vendor,
    signal,
    onTrouble: (text) => log.error(text),
  })
  const unlock = await lockDirectory(dataDir)
  const joining = await readJoinState(dataDir)
  const journal = await openJournal(join(dataDir, 'journal'))
  const only = ports.offline?.release
  await keeper.update((record) => {
    const jobs = record.jobs.map((job) => resume(job as Job))
    return { ...record, jobs: only === undefined ? jobs : [...takenUp(jobs, only)] }
  })
  const going = (): Job[] =>
    (keeper.get().jobs as Job[]).filter((job) => only === undefined || job.release.product === only.product)

  const refused = await openRefused({ dataDir, nowMs: ports.nowMs, log: log.child({ part: 'refused' }) })
  const network = await networkOf(config, ports, log)
  const pool = ports.createPool(network.nostrUrls)
  const wake = createWake(signal)
  const tellWake = createWake(signal)

  const store = keepingRoots(openTextStore(join(dataDir, 'metadata')))
  const looker = createLooker({
    config,
    ports,
    pool,
    keeper,
    refused,
    log: log.child({ part: 'release' }),
    signal,
    store,
  })
  const vendorKey = (): PartyKey | undefined => looker.verified.get()?.vendorBlock.nostr ?? joining?.nostr

  const cheatLog = log.child({ part: 'cheats' })
  const cheats = createCheats({
    pool,
    journal,
    identity: config.identity,
    nowMs: ports.nowMs,
    random: ports.random,
    randomBytes: ports.randomBytes,
    log: asEventLog(cheatLog),
    onProven: (proven) => {
      const { key: seller, paid } = proven.cheat
      refused.note('fraud', seller.slice(0, 16), convictedText(proven.cheat))
      keepProof(dataDir, proven).then(
        (file) => cheatLog.warn({ seller, paidMsat: paid, file }, convictedText(proven.cheat)),
        (error: unknown) => cheatLog.error({ err: error, seller }, 'a proof could not be kept as a file'),
      )
    },
  })

  const funds = createFunds({ ports, log: log.child({ part: 'wallet' }), onChange: () => refreshView(true) })
  const enrolment = createEnrolment({
    config,
    ports,
    pool,
    keeper,
    joining,
    vendorKey,
    funds,
    onChange: () => refreshView(true),
    log,
    signal,
  })

  let swarm: Promise<Swarm> | undefined
  function joinSwarm(): Promise<Swarm> {
    if (swarm === undefined) {
      const making = ports.createSwarm({
        identity: config.identity,
        role: 'device',
        iceServers: network.iceServers,
        trackers: network.trackers,
        log(event, detail) {
          if (event !== 'peer dropped') return
          const { key, why } = detail as { key?: string; why: string }
          swarmLog.debug(detail, event)
          if (/not the release/.test(why)) refused.note('wrong-pieces', key?.slice(0, 16) ?? 'a peer', why)
        },
      })
      making.catch(() => (swarm = swarm === making ? undefined : swarm)) // the next purchase tries anew
      swarm = making
    }
    return swarm
  }
  const swarmLog = log.child({ part: 'swarm' })
  const purchases = createPurchases({
    config,
    ports,
    journal,
    swarm: joinSwarm,
    uploadLimit: createRateLimit(config.trade.uploadBps),
    downloadLimit: createRateLimit(config.trade.downloadBps),
    cheats,
    verified: looker.verified.get,
    refused,
    floor: looker.floor,
    onFloor: looker.onFloor,
    onLate: tellWake.now,
    onSold: () => progress.poke(false),
    log: swarmLog,
    wallet: funds.wallet,
    jobs: () => keeper.get().jobs as Job[],
    signal,
    onSettled: (job) => jobs.apply(job, { tag: 'settled' }),
  })
  const jobs = createJobs(keeper, (job) => purchases.opened(job)?.takeWritten() ?? 0)

  const view: ViewDeps = {
    config,
    record: keeper.get,
    accepted: enrolment.accepted,
    joinTrouble: enrolment.trouble,
    purchaseOf: purchases.opened,
    funds,
    allowance: allowanceClient(config, joining),
    journal,
    relays: pool.status.get,
    refused: refused.get,
  }
  const cell = liveCell<DeviceSnapshot>(snapshotOf(view))
  const progress = createProgressTeller({
    config,
    ports,
    pool,
    keeper,
    vendorKey,
    describe: () => progressOf(view),
    log: log.child({ part: 'progress' }),
  })

  let lastShown = ''
  function refreshView(wakeUp: boolean): void {
    const next = snapshotOf(view)
    cell.set(next)
    const shown = `${next.release?.path ?? ''} ${next.state} ${next.reason ?? ''}`
    const changed = shown !== lastShown
    if (changed) {
      lastShown = shown
      const name = next.release === undefined ? 'device' : releaseName(next.release)
      log.info(
        { state: next.state },
        `${name}: ${next.state}${next.reason === undefined ? '' : `: ${next.reason}`}`,
      )
    }
    progress.poke(changed)
    if (wakeUp) wake.now()
  }

  const buying = createBuying({
    config,
    ports,
    keeper,
    jobs,
    funds,
    journal,
    accepted: view.accepted,
    purchaseOf: (job) => purchases.open(job),
    opener: createOpener({ config, ports, verified: looker.verified.get, refused }),
    onView: () => refreshView(false),
    log: log.child({ part: 'purchase' }),
    signal,
  })
  const installing = createInstalling({
    config,
    ports,
    jobs,
    store,
    verified: looker.verified.get,
    releases: () => (keeper.get().jobs as Job[]).map(({ release }) => release),
    refused,
    signal,
  })

  /** Does the one thing that the job demands; gives how long to sleep when nothing came of it. */
  async function act(job: Job): Promise<number> {
    const action = due(job)
    switch (action.tag) {
      case 'admit':
        return buying.admit(job)
      case 'buy':
        return buying.buy(job)
      case 'prepare':
      case 'place':
      case 'switch':
      case 'check':
      case 'restore':
        await installing.act(job, action)
        return 0
      case 'settle':
      case 'tell':
      case 'rest':
        return LONG_SLEEP_MS
      default:
        return action satisfies never
    }
  }

  async function drive(): Promise<void> {
    while (!signal.aborted) {
      for (const job of keeper.get().jobs) purchases.tend(job as Job)
      const job = current(going())
      let sleepMs = LONG_SLEEP_MS
      if (job !== undefined) {
        try {
          sleepMs = await act(job)
        } catch (error) {
          if (signal.aborted) return
          log.error({ err: error }, 'a step failed and is tried again')
          sleepMs = ports.retryMs
        }
        const after = jobs.latest(job)
        // A release is over: there may be a newer one that waited for it.
        if (after !== undefined && !isActive(after)) looker.look()
        else if (after === job && sleepMs === 0) sleepMs = ports.retryMs // nothing came of it: no busy loop
      }
      if (sleepMs > 0) await wake.sleep(sleepMs)
    }
  }

  const teller = createTeller({
    config,
    ports,
    pool,
    journal,
    keeper,
    vendorKey,
    seenSellers: (job) => purchases.opened(job)?.snapshot.get()?.sellers ?? [],
    log: log.child({ part: 'report' }),
  })
  const telling = (): Promise<void> =>
    tellAll({
      teller,
      jobs,
      keeper,
      ports,
      dataDir,
      wake: tellWake,
      signal,
      log,
      keeps: purchases.keeps,
    })

  if (config.walletConnection !== undefined) await funds.open(config.walletConnection)
  let before = keeper.get()
  const stops = [
    looker.verified.subscribe((found) => {
      if (found === undefined) return
      const { nostr, distributors } = found.vendorBlock
      // Those of old jobs too: what was withdrawn can still be proven about.
      const signed = [...found.releases, ...keeper.get().jobs.map((job) => (job as Job).release)]
      cheats.follow(config.vendor, signed, [nostr, ...distributors])
    }),
    keeper.subscribe((record) => {
      const changed = record.jobs !== before.jobs
      before = record
      if (changed) tellWake.now()
      refreshView(changed)
    }),
    refused.subscribe(([latest]) => progress.poke(latest?.count === 1)),
    pool.status.subscribe((relays) => {
      if (relays.some((relay) => relay.connected)) {
        tellWake.now()
        progress.poke(false) // the last word may not have got through
      }
      cell.set(snapshotOf(view))
    }),
  ]
  const loops = Promise.all(
    [drive(), telling(), looker.run(), enrolment.run()].map((loop) =>
      loop.catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error }, 'a part of the device ended unexpectedly')
      }),
    ),
  )

  let stopping: Promise<void> | undefined
  async function stop(): Promise<void> {
    stopper.abort()
    const quiet = Promise.all([progress.stop(), loops]).then(() => true)
    const late = delay(LAST_WORD_MS, false, { ref: false })
    if (!(await Promise.race([quiet, late]))) {
      // A relay or a wallet that does not answer holds nobody up: what is open is on disk.
      pool.close()
      funds.close()
      await quiet
    }
    for (const end of stops) end()
    // Whatever does not close well: the directory is let go, and the next start takes up what is on disk.
    const closed = await Promise.allSettled([
      purchases.close().then(async () => (await swarm)?.close()),
      installing.close(),
    ])
    for (const one of closed)
      if (one.status === 'rejected')
        log.warn({ err: one.reason as unknown }, 'a part of the device did not close well')
    await cheats.stop()
    funds.close()
    pool.close()
    await journal.idle()
    await refused.idle()
    await unlock()
  }
  return {
    key: config.identity.key,
    record: keeper,
    get: cell.get,
    subscribe: cell.subscribe,
    showing: () => showing(view),
    look: looker.look,
    stop: () => (stopping ??= stop()),
  }
}
