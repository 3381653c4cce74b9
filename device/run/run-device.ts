/**
 * `satpatch device run`: takes what the vendor signed, buys it, installs it, reports it. What to do comes from
 * `core/rollout/lifecycle.ts`; here it is done, one step at a time, each state on disk before it is acted on.
 */
import { join } from 'node:path'
import type { PartyKey } from '../../web/core/bytes.ts'
import { convictedText } from '../../web/core/exchange/cheats.ts'
import { liveCell, type Live } from '../../web/core/live.ts'
import { releaseName } from '../../web/core/release/target.ts'
import { current, type DeviceRecord } from '../../web/core/rollout/lifecycle-device.ts'
import { due, isActive, resume, type Event, type Job } from '../../web/core/rollout/lifecycle.ts'
import type { JoinAccept } from '../../web/core/rollout/messages.ts'
import type { Swarm } from '../../web/edge/swarm/api.ts'
import { createCheats } from '../../web/edge/swarm/cheats.ts'
import { createRateLimit } from '../../web/edge/swarm/rate-limit.ts'
import type { DeviceConfig } from '../config/config.ts'
import { createCustomInstaller } from '../install/custom.ts'
import type { Installer, InstallResult } from '../install/installer.ts'
import { createSlotInstaller, prepareProducts } from '../install/slots.ts'
import { asEventLog, type Logger } from '../log.ts'
import { openJournal } from '../storage/journal.ts'
import { openTextStore } from '../storage/text-store.ts'
import { createBuying } from './buying.ts'
import { createFunds } from './funds.ts'
import { createJobs } from './jobs.ts'
import { readJoinState } from './join-state.ts'
import { awaitAcceptance, keepAcceptance } from './joining.ts'
import { lockDirectory } from './lock.ts'
import { createLooker } from './looker.ts'
import { networkOf } from './network.ts'
import type { Ports } from './ports.ts'
import { createProgressTeller } from './progress.ts'
import { keepProof } from './proofs.ts'
import { artifactPath } from './purchase.ts'
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
  /** Looks at the mirrors now. */
  look(): void
  /** Leaves everything so that the next start takes it up. */
  stop(): Promise<void>
}

export type RunOptions = Readonly<{ config: DeviceConfig; log: Logger; ports: Ports }>

/** Longest sleep of a loop that is woken by events; a lost one costs no more. */
const LONG_SLEEP_MS = 60_000
/** Bound of the wait between tries to take up an acceptance: `retryMs`, doubled so often. */
const MAX_DOUBLINGS = 6

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
  const productsDir = join(dataDir, 'products')
  await prepareProducts(productsDir)
  await keeper.update((record) => ({ ...record, jobs: record.jobs.map((job) => resume(job as Job)) }))

  const refused = await openRefused({ dataDir, nowMs: ports.nowMs, log: log.child({ part: 'refused' }) })
  const network = await networkOf(config, ports, log)
  const pool = ports.createPool(network.nostrUrls)
  const wake = createWake(signal)
  const tellWake = createWake(signal)
  let accepted = ports.offline === true || joining === undefined || joining.acceptedAt !== null
  let joinTrouble: string | undefined

  const looker = createLooker({
    config,
    ports,
    pool,
    keeper,
    refused,
    log: log.child({ part: 'release' }),
    signal,
    store: openTextStore(join(dataDir, 'metadata')),
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
    log: swarmLog,
    wallet: funds.wallet,
    signal,
    onSettled: (job) => jobs.apply(job, { tag: 'settled' }),
  })
  const jobs = createJobs(keeper, (job) => purchases.opened(job)?.takeWritten() ?? 0)

  const view: ViewDeps = {
    config,
    record: keeper.get,
    accepted: () => accepted,
    joinTrouble: () => joinTrouble,
    purchaseOf: purchases.opened,
    funds,
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
    onView: () => refreshView(false),
    log: log.child({ part: 'purchase' }),
    signal,
  })
  const installer: Installer =
    config.installCommand === undefined
      ? createSlotInstaller({ productsDir, health: config.health, signal })
      : createCustomInstaller({
          command: config.installCommand.command,
          rollbackCommand: config.installCommand.rollback,
          timeoutMs: config.installCommand.timeoutMs,
          health: config.health,
          artifactOf: (release) => artifactPath(dataDir, release),
          signal,
        })

  /** Does the one thing that the job demands; gives how long to sleep when nothing came of it. */
  async function act(job: Job): Promise<number> {
    const action = due(job)
    const { release } = job
    const record = async (result: InstallResult, good: Event): Promise<number> => {
      if (result.tag === 'ok') await jobs.apply(job, good)
      else if (result.tag === 'unfit') {
        if (result.attack !== undefined) refused.note(result.attack, 'this device’s disk', result.reason)
        await jobs.apply(job, { tag: 'unfit', reason: result.reason })
      }
      return 0
    }
    switch (action.tag) {
      case 'admit':
        return buying.admit(job)
      case 'buy':
        return buying.buy(job)
      case 'prepare':
        await jobs.apply(job, { tag: 'prepared', plan: await installer.prepare(release) })
        return 0
      case 'place':
        return record(await installer.place(action.plan, release, artifactPath(dataDir, release)), {
          tag: 'placed',
        })
      case 'switch':
        return record(await installer.activate(action.plan, release), { tag: 'switched' })
      case 'check':
        return record(await installer.check(action.plan, release), { tag: 'passed', at: ports.nowMs() })
      case 'restore': {
        const result = await installer.restore(action.plan, release)
        const at = ports.nowMs()
        if (result.tag === 'ok') await jobs.apply(job, { tag: 'restored', at })
        else if (result.tag === 'unfit')
          await jobs.apply(job, { tag: 'not-restored', reason: result.reason, at })
        return 0
      }
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
      for (const job of keeper.get().jobs) purchases.settleSoon(job as Job)
      const job = current(keeper.get().jobs as Job[])
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

  async function joinFleet(): Promise<void> {
    if (joining === undefined || accepted) return
    const retry = createWake(signal)
    let accept: JoinAccept | undefined
    for (let failures = 0; !accepted; failures++) {
      try {
        accept ??= await awaitAcceptance({
          config,
          state: joining,
          pool,
          nowMs: ports.nowMs,
          signal,
          onTrouble: (reason) => log.debug({ reason }, 'join request not sent yet'),
        })
        const connection = await keepAcceptance(config, joining, accept, ports.nowMs())
        if (connection !== undefined && funds.wallet() === undefined) await funds.open(connection)
        accepted = true
        log.info('accepted by the vendor')
        showJoinTrouble(undefined)
      } catch (error) {
        if (signal.aborted) return
        log.error({ err: error }, 'the acceptance could not be taken up and is tried again')
        const why = error instanceof Error ? error.message : String(error)
        showJoinTrouble(`accepted by the vendor, but that could not be taken up: ${why} It is tried again`)
        await retry.sleep(ports.retryMs * 2 ** Math.min(failures, MAX_DOUBLINGS))
      }
    }
  }

  /** Shown at once; in the record for `device status`, as soon as that can be written. */
  function showJoinTrouble(text: string | undefined): void {
    joinTrouble = text?.slice(0, 500)
    refreshView(true)
    keeper
      .update(({ joinTrouble: _before, ...record }) => ({
        ...record,
        ...(joinTrouble === undefined ? {} : { joinTrouble }),
      }))
      .catch((error: unknown) => log.debug({ err: error }, 'the device stops before this is written'))
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
      isOpen: (job) => purchases.opened(job) !== undefined,
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
      if (relays.some((relay) => relay.connected)) tellWake.now()
      cell.set(snapshotOf(view))
    }),
  ]
  const loops = Promise.all(
    [drive(), telling(), looker.run(), joinFleet()].map((loop) =>
      loop.catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error }, 'a part of the device ended unexpectedly')
      }),
    ),
  )

  let stopping: Promise<void> | undefined
  async function stop(): Promise<void> {
    await progress.stop()
    stopper.abort()
    await loops
    for (const end of stops) end()
    // Whatever does not close well: the directory is let go, and the next start takes up what is on disk.
    const closed = await Promise.allSettled([purchases.close().then(async () => (await swarm)?.close())])
    for (const one of closed)
      if (one.status === 'rejected') log.warn({ err: one.reason as unknown }, 'the swarm did not close well')
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
    look: looker.look,
    stop: () => (stopping ??= stop()),
  }
}
