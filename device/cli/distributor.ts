/** `satpatch distributor run`: seeds what vendors signed and sells it, without a browser. */
import { randomBytes, webcrypto } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fromHex, isHex32, type VendorId } from '../../web/core/bytes.ts'
import { msat, type Msat } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { parseSweepTarget, type SweepTarget } from '../../web/core/wallet/sweep.ts'
import { relayBaseUrl } from '../../web/core/rollout/join.ts'
import type { DistributorSettings, DistributorSnapshot } from '../../web/edge/distributor/api.ts'
import { fetchRelayConfig, RelayConfigError, type RelayConfig } from '../../web/edge/relay-config.ts'
import type { Identity, Metainfo } from '../../web/edge/swarm/api.ts'
import { startSweeping } from '../../web/edge/wallet/sweep.ts'
import { rateFlag } from '../config/trade.ts'
import { asEventLog } from '../log.ts'
import { lockDirectory } from '../run/lock.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { openJournal } from '../storage/journal.ts'
import { openPieceStore } from '../storage/piece-store.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type Flags } from './command.ts'
import { walletInput } from './secret-input.ts'

const MIB = 1024 * 1024
/** How often `--json` and the log tell what was earned, at most. */
const TELL_EVERY_MS = 5000
const RETRY_MS = 3000

export const distributorCommand: Command = {
  verb: 'distributor run',
  summary: 'Carries releases of the vendors on a relay and sells them, piece by piece.',
  about: `
Keeps its key, what it carries and what it earned in the data directory. With play money it opens an account by itself
unless a wallet connection is given; receive permission suffices. Settings given here are kept for the next start.`,
  flags: {
    relay: { value: 'URL', help: 'the relay (default http://localhost:8787)' },
    data: { value: 'DIR', help: 'data directory (default .data/distributor)' },
    price: { value: 'MSAT_PER_MIB', help: 'price asked per MiB' },
    disk: { value: 'MIB', help: 'most disk space to use' },
    'upload-limit': { value: 'BYTES_PER_S', help: 'most upload, such as 500K or 2M (0: no limit)' },
    'download-limit': { value: 'BYTES_PER_S', help: 'most download' },
    upload: { value: 'KIB_PER_S', help: 'the same in KiB a second' },
    spend: { value: 'SATS', help: 'what it may pay for the first copy of a release' },
    vendor: { value: 'ID', help: 'carry this vendor only; may be repeated', many: true },
    'wallet-file': { value: 'FILE', help: 'file with a wallet connection (or SATPATCH_WALLET)' },
    'sweep-above': { value: 'SATS', help: 'send what it earned above this sum on (0: all)' },
    'sweep-to': { value: 'ADDRESS', help: 'to this Lightning address, or once to this invoice' },
    'no-wallet': { help: 'give away only, sell nothing' },
  },
  async run({ flags, json, log, out }) {
    const relay = flags.text('relay') ?? 'http://localhost:8787'
    const relayUrl = relayBaseUrl(relay)
    if (relayUrl === undefined) throw usage('--relay must be an address such as https://relay.example.')
    const vendors = flags.texts('vendor').map((id) => {
      if (!isHex32(id)) throw usage('--vendor must be a vendor’s id: 64 characters 0-9 and a-f.')
      return id as VendorId
    })
    const sweep = sweepOf(flags)
    const given = flags.has('no-wallet') ? undefined : await walletInput(flags)
    const dataDir = resolve(flags.text('data') ?? '.data/distributor')
    const stopped = stopSignal()
    await makeDirectory(dataDir)
    const unlock = await lockDirectory(dataDir)
    const identity = await ownKey(join(dataDir, 'key'))
    out(json ? JSON.stringify({ key: identity.key }) : `The distributor's key: ${identity.key}`)

    const [
      { createDistributor, defaultSettings, loadSettings },
      { createPool },
      { openPlayAccount },
      { connectNwc },
    ] = await Promise.all([
      import('../../web/edge/distributor/distributor.ts'),
      import('../../web/edge/nostr/pool.ts'),
      import('../../web/edge/release/api.ts'),
      import('../../web/edge/wallet/nwc.ts'),
    ])
    let config: RelayConfig | undefined
    for (;;) {
      const found = await Promise.race([configOf(relayUrl), stopped])
      if (typeof found === 'string') return EXIT.ok
      if (!(found instanceof RelayConfigError)) {
        config = found
        break
      }
      if (found.code === 'not-a-relay') throw new CliError(EXIT.failure, found.message)
      log.warn(found.message)
      await Promise.race([new Promise((done) => setTimeout(done, RETRY_MS)), stopped])
    }

    const journal = await openJournal(join(dataDir, 'journal'))
    const kept = await loadSettings(journal)
    const settings = withFlags(kept ?? defaultSettings(config.money), flags, vendors)
    let connection = flags.has('no-wallet') ? undefined : (given ?? (await keptWallet(dataDir)))
    if (connection === undefined && !flags.has('no-wallet') && config.money.startsWith('sandbox:')) {
      const account = await openPlayAccount(relayUrl, { name: `distributor ${identity.key.slice(0, 8)}` })
      connection = account.connection
      log.info({ balanceMsat: account.balanceMsat }, 'opened a play-money account')
    }
    if (connection !== undefined) await writeDurably(join(dataDir, 'wallet'), connection)

    const pool = createPool([config.nostrUrl])
    const wallet = connection === undefined ? undefined : await connectNwc(connection)
    const openStore = (meta: Metainfo) => openPieceStore(join(dataDir, 'artifacts', meta.infoHash), meta)
    const distributor = createDistributor({
      identity,
      relayUrl,
      config,
      pool,
      ...(wallet === undefined ? {} : { wallet }),
      stores: { openStore, journal },
      settings,
      nowMs: Date.now,
      random: (length) => webcrypto.getRandomValues(new Uint8Array(length)),
      fetch: globalThis.fetch,
      log: asEventLog(log.child({ part: 'distributor' })),
    })
    await distributor.start()
    await distributor.updateSettings(settings)
    const tell = teller((line) => log.info(line.detail, line.text))
    const stopTelling = distributor.subscribe(tell)
    const sweeping =
      sweep &&
      wallet &&
      startSweeping({
        ...{ ...sweep, wallet, journal, nowMs: Date.now },
        log: (event, detail) => log.info(detail, event),
      })
    log.info({ signal: await stopped }, 'stopping')
    stopTelling()
    const swept = sweeping?.stop()
    await distributor.stop()
    wallet?.close()
    await swept
    pool.close()
    await unlock()
    return EXIT.ok
  },
}

function sweepOf(flags: Flags): { above: Msat; target: SweepTarget } | undefined {
  const above = flags.count('sweep-above')
  const to = flags.text('sweep-to')
  if (above === undefined && to === undefined) return undefined
  if (above === undefined || to === undefined) throw usage('--sweep-above and --sweep-to go together.')
  const target = parseSweepTarget(to)
  if (!target) throw usage('--sweep-to must be a Lightning address (name@host) or a Lightning invoice.')
  return { above: msat(above * 1000), target }
}

/** The relay's configuration, or why there is none yet. */
async function configOf(relayUrl: string): Promise<RelayConfig | RelayConfigError> {
  try {
    return await fetchRelayConfig(relayUrl)
  } catch (error) {
    if (error instanceof RelayConfigError) return error
    throw error
  }
}

/** The distributor's own key, made at the first start (0600). */
async function ownKey(path: string): Promise<Identity> {
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storageError(error, path)
    text = randomBytes(32).toString('hex')
    await writeDurably(path, `${text}\n`)
  }
  if (!isHex32(text))
    throw new CliError(
      EXIT.failure,
      `${path} is not a key. Restore it from a copy, or move it away to begin anew.`,
    )
  const secret = fromHex(text)
  return { key: publicKey(secret), secret }
}

async function keptWallet(dataDir: string): Promise<string | undefined> {
  await mkdir(dataDir, { recursive: true })
  return readFile(join(dataDir, 'wallet'), 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw storageError(error, join(dataDir, 'wallet'))
  })
}

function withFlags(
  kept: DistributorSettings,
  flags: Flags,
  vendors: readonly VendorId[],
): DistributorSettings {
  const price = flags.count('price')
  const disk = flags.count('disk')
  const upload = flags.count('upload')
  const spend = flags.count('spend')
  const { uploadBps, downloadBps, ...rest } = kept
  // 0 takes a limit away.
  const limit = (given: number | undefined, before: number | undefined): number | undefined =>
    given === undefined ? before : given === 0 ? undefined : given
  const up = limit(rateFlag(flags, 'upload-limit') ?? (upload && upload * 1024), uploadBps)
  const down = limit(rateFlag(flags, 'download-limit'), downloadBps)
  return {
    ...rest,
    ...(price === undefined ? {} : { price: msat(price) }),
    ...(disk === undefined ? {} : { diskLimitBytes: disk * MIB }),
    ...(up === undefined ? {} : { uploadBps: up }),
    ...(down === undefined ? {} : { downloadBps: down }),
    ...(spend === undefined ? {} : { spendPerRelease: msat(spend * 1000) }),
    ...(vendors.length === 0 ? {} : { vendors }),
  }
}

/** Tells what changed for its owner: what is carried, what is earned, what is wrong. */
function teller(say: (line: { text: string; detail: object }) => void): (now: DistributorSnapshot) => void {
  let lastMs = -Infinity
  let lastEarned: Msat | undefined
  const states = new Map<string, string>()
  let troubles = new Set<string>()
  return (now) => {
    for (const row of now.carrying) {
      const state =
        row.state.tag === 'waiting' || row.state.tag === 'trouble'
          ? `${row.state.tag}: ${row.state.text}`
          : row.state.tag
      if (states.get(row.infoHash) === state) continue
      states.set(row.infoHash, state)
      say({
        text: `${row.name}: ${state}`,
        detail: { infoHash: row.infoHash, have: row.have, pieces: row.pieces },
      })
    }
    for (const trouble of now.troubles) if (!troubles.has(trouble)) say({ text: trouble, detail: {} })
    troubles = new Set(now.troubles)
    const nowMs = Date.now()
    const earned = now.earnings.total
    if (earned === lastEarned || nowMs - lastMs < TELL_EVERY_MS) return
    lastMs = nowMs
    lastEarned = earned
    say({ text: `earned ${earned / 1000} sats so far`, detail: { earnedMsat: earned } })
  }
}
