/**
 * The relay: tracker, Nostr relay, wallet service, release mirror and the PWA as one process with one port and one
 * data directory. This file only wires them together.
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadSecp } from '#secp'
import type { PartyKey } from '../web/core/bytes.ts'
import { msat, type Money } from '../web/core/money/msat.ts'
import type { IceServer } from '../web/edge/relay-config.ts'
import { apiRoutes } from './api.ts'
import { holdDataDir } from './data-dir.ts'
import { codeOf, StartError } from './errors.ts'
import { createRouter, HttpError, type Handler } from './http/http.ts'
import { createNodeServer, type Tls } from './http/node-server.ts'
import { createAddressBuckets } from './http/rate.ts'
import { createStatic } from './http/static.ts'
import { handoverRoutes } from './handover.ts'
import { loadKeys } from './keys.ts'
import { openLightning, type LndSettings } from './lightning.ts'
import { openMirror } from './mirror/mirror.ts'
import { serveConnection } from './nostr/connection.ts'
import { createNostrCore, nostrLimits } from './nostr/relay.ts'
import { openEventStore } from './nostr/store.ts'
import { serveSockets } from './sockets.ts'
import { createTracker } from './tracker.ts'
import { OWNER_FILE } from './wallet/owner.ts'
import {
  createWalletService,
  type BeforePay,
  type WalletHealth,
  type WalletService,
} from './wallet/service.ts'

export { StartError } from './errors.ts'

/** What a pino logger has. */
export interface Log {
  debug(detail: object, message: string): void
  info(detail: object, message: string): void
  warn(detail: object, message: string): void
  error(detail: object, message: string): void
}

export type RelayOptions = Readonly<{
  /** 0 takes any free port. */
  port: number
  /** Address to listen on; all interfaces without it. */
  host?: string
  dataDir: string
  tls?: Readonly<{ certFile: string; keyFile: string }>
  /** The address that others reach this relay by, when a proxy stands before it. */
  publicUrl?: string
  iceServers: readonly IceServer[]
  /** The built PWA; `dist/web` of this project without it. */
  webDir?: string
  log: Log
  /** Play-money accounts: how much each starts with, how many one address may open a day. */
  openAccounts: Readonly<{ grantMsat: number; perAddress: number }>
  /** Ask for an admission link although there is a vendor already. */
  admitFurther?: boolean
  /** A file with the vendor's encrypted backup, for the first browser that knows its code (`handover.ts`). */
  handoverFile?: string
  /** Unix milliseconds. */
  now?: () => number
  /** Play money's routing fee, parts per million of each payment; none without it. */
  feePpm?: number
  /** Makes the play money's payments wait. */
  beforePay?: BeforePay
  /** A Lightning node behind the wallet service, instead of play money. */
  lnd?: LndSettings
}>

export interface RunningRelay {
  readonly url: string
  readonly port: number
  /** `<url>/vendor#admit=CODE`, a secret: while no vendor has been admitted, or when asked for. */
  readonly admissionLink?: string
  readonly relayKey: PartyKey
  /** The node behind the wallet service, and the file with its owner's wallet connection. */
  readonly lightning?: Readonly<{ alias: string; network: string; ownerFile: string }>
  /** A one-time link for a further vendor. */
  mintAdmissionLink(): Promise<string>
  stop(): Promise<void>
}

const STOP_GRACE_MS = 3000
const VERSION = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version
const DEFAULT_WEB_DIR = fileURLToPath(new URL('../dist/web', import.meta.url))

/** Starts everything, or nothing: what was opened before a failure is closed again. @throws StartError */
export async function startRelay(options: RelayOptions): Promise<RunningRelay> {
  const undo: (() => void | Promise<void>)[] = []
  try {
    return await start(options, undo)
  } catch (error) {
    for (const step of undo.reverse()) await step()
    throw error
  }
}

async function start(options: RelayOptions, undo: (() => void | Promise<void>)[]): Promise<RunningRelay> {
  const { dataDir, log } = options
  const nowMs = options.now ?? Date.now
  const publicUrl = checkedPublicUrl(options.publicUrl)
  const tls = options.tls && (await readTls(options.tls))
  const behindProxy = publicUrl !== undefined && !tls
  undo.push(await holdDataDir(dataDir))
  await loadSecp()

  const keys = await loadKeys(dataDir)
  const lightning = options.lnd && (await openLightning(options.lnd))
  if (lightning) undo.push(() => lightning.node.close())
  const money: Money = lightning?.status.money ?? `sandbox:${keys.relayKey}`
  const mirror = await orDamaged(dataDir, () =>
    openMirror({
      dataDir,
      signers: keys,
      nowMs,
      onError: (error, vendor) => log.error({ err: error, vendor }, 'metadata could not be signed again'),
    }),
  )
  undo.push(() => mirror.stop())

  let storeFailedAtMs = -Infinity
  const store = await orDamaged(dataDir, () => openEventStore(join(dataDir, 'nostr.sqlite')))
  undo.push(() => store.close())
  const onNostrError = (error: unknown) => {
    storeFailedAtMs = nowMs()
    log.error({ err: error }, 'the Nostr relay failed on a message')
  }
  const nostr = createNostrCore({ store, nowMs, onError: onNostrError })
  const storedBytes = createAddressBuckets(
    nostrLimits.storedBytesPerDay / 86_400,
    nostrLimits.storedBytesPerDay,
    nowMs,
  )
  const accusations = createAddressBuckets(
    nostrLimits.accusationsPerDay / 86_400,
    nostrLimits.accusationsPerDay,
    nowMs,
  )
  const sweep = () => {
    try {
      store.sweep(Math.floor(nowMs() / 1000))
    } catch (error) {
      onNostrError(error)
    }
  }
  sweep()
  const sweeper = setInterval(sweep, nostrLimits.sweepIntervalMs)
  sweeper.unref()
  undo.push(() => clearInterval(sweeper))

  const tracker = createTracker((error) => log.warn({ err: error }, 'tracker'))
  undo.push(() => tracker.stop())

  let localUrl = ''
  const url = () => publicUrl ?? localUrl
  const wallet = await orDamaged(dataDir, () =>
    createWalletService({
      dataDir,
      relaySecret: keys.relaySecret,
      nostr: {
        publish(event) {
          const { accepted, reason } = nostr.publish(event)
          return accepted ? undefined : Promise.reject(new Error(reason))
        },
        subscribe: nostr.subscribe,
      },
      nostrUrl: () => `${url().replace(/^http/, 'ws')}/nostr`,
      money,
      ...(lightning && { lightning }),
      log,
      now: nowMs,
      ...(options.feePpm === undefined ? {} : { feePpm: options.feePpm }),
      ...(options.beforePay === undefined ? {} : { beforePay: options.beforePay }),
    }),
  )
  undo.push(() => wallet.stop())

  const routes = apiRoutes({
    version: VERSION,
    mirror,
    openAccount: wallet.openAccount,
    config: {
      version: VERSION,
      relayKey: keys.relayKey,
      money,
      iceServers: [...options.iceServers],
      tuf: { snapshot: keys.snapshot.public, timestamp: keys.timestamp.public },
      openAccounts: {
        grantMsat: msat(lightning ? 0 : options.openAccounts.grantMsat),
        perAddress: options.openAccounts.perAddress,
      },
    },
    publicUrl,
    localUrl: () => localUrl,
    startedAtMs: nowMs(),
    nowMs,
    parts: () => ({
      ledger: walletHealth(wallet.health()),
      ...(lightning && { lightning: wallet.lightning()?.trouble ?? 'ok' }),
      nostr:
        nowMs() - storeFailedAtMs < HEALTH_MEMORY_MS
          ? 'a message could not be handled; the log says why'
          : 'ok',
      tracker: 'ok',
    }),
  })
  const onHttpError = (error: unknown) => log.error({ err: error }, 'a request failed')
  if (options.handoverFile !== undefined)
    routes.push(...handoverRoutes({ file: options.handoverFile, publicUrl, nowMs }))
  const serve = createRouter(routes, pages(options.webDir ?? DEFAULT_WEB_DIR), onHttpError)
  const server = createNodeServer(serve, { tls, behindProxy, onError: onHttpError })
  const endSockets = serveSockets(server, behindProxy, {
    nostr: (socket, address, stream) =>
      serveConnection(socket, {
        ...{ core: nostr, nowMs, stream },
        mayStore: (bytes) => storedBytes.take(address, bytes),
        mayAccuse: () => accusations.take(address),
        onError: onNostrError,
      }),
    tracker: (socket, request) => tracker.serve(socket, request),
  })
  // Half a relay must not answer: the port opens last.
  const port = await listen(server, options)
  localUrl = `${tls ? 'https' : 'http'}://${shownHost(options.host)}:${port}`
  undo.push(() => closeServer(server, endSockets))

  const owner = lightning && endowOwner(wallet, options)
  const link = async (use: 'first' | 'further') => `${url()}/vendor#admit=${await mirror.admission.mint(use)}`
  const first = mirror.vendors().length === 0
  const admissionLink = first || options.admitFurther ? await link(first ? 'first' : 'further') : undefined
  log.info({ url: url(), dataDir, vendors: mirror.vendors().length }, 'the relay runs')

  let stopping: Promise<void> | undefined
  return {
    url: url(),
    port,
    relayKey: keys.relayKey,
    ...(admissionLink === undefined ? {} : { admissionLink }),
    ...(owner && { lightning: owner }),
    mintAdmissionLink: () => link('further'),
    stop: () =>
      (stopping ??= (async () => {
        for (const step of undo.reverse()) await step()
        log.info({}, 'the relay has stopped')
      })()),
  }
}

/** Opens the owner's account; its connection names the port that this relay has now. @throws StartError */
function endowOwner(wallet: WalletService, { dataDir, lnd }: RelayOptions): RunningRelay['lightning'] {
  const totalMsat = lnd?.ownerMsat
  const { alias = '', network = '' } = wallet.lightning() ?? {}
  try {
    wallet.endow(totalMsat)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new StartError('lightning', `The owner's account cannot be set to that: ${why}.`, { cause })
  }
  return { alias, network, ownerFile: join(dataDir, OWNER_FILE) }
}

const HEALTH_MEMORY_MS = 60_000
const walletHealth = (health: WalletHealth): string => (health.ok ? 'ok' : health.why)

/** The PWA, but never in place of an answer that a program waits for. */
function pages(webDir: string): Handler {
  const files = createStatic(webDir)
  return (request, context) => {
    if (/^\/(api|v|nostr|tracker)(\/|$)/.test(new URL(request.url).pathname)) {
      throw new HttpError(404, 'not-found', 'There is nothing at this address.')
    }
    return files(request, context)
  }
}

function checkedPublicUrl(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search || url.hash) {
    const words = `The public URL "${text}" is not of the form https://name or https://name:port.`
    throw new StartError('bad-setting', words)
  }
  return url.origin
}

async function readTls({ certFile, keyFile }: { certFile: string; keyFile: string }): Promise<Tls> {
  try {
    return { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') }
  } catch (cause) {
    const text = `The TLS certificate ${certFile} or its key ${keyFile} cannot be read. Check both paths and permissions.`
    throw new StartError('tls-unreadable', text, { cause })
  }
}

async function orDamaged<T>(dataDir: string, open: () => T | Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    const text = `The relay's data in ${dataDir} cannot be used: ${why}. Nothing was changed; restore that file from a backup.`
    throw new StartError('data-damaged', text, { cause })
  }
}

const shownHost = (host: string | undefined): string => {
  if (host === undefined || host === '::' || host === '0.0.0.0') return 'localhost'
  return host.includes(':') ? `[${host}]` : host
}

async function listen(server: Server, { port, host }: RelayOptions): Promise<number> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (cause) {
    throw listenError(cause, port, host)
  }
  return (server.address() as AddressInfo).port
}

function listenError(cause: unknown, port: number, host: string | undefined): StartError {
  switch (codeOf(cause)) {
    case 'EADDRINUSE': {
      const text = `Port ${port} is in use by another program. Stop it, or choose another port with --port.`
      return new StartError('port-in-use', text, { cause })
    }
    case 'EACCES':
      return new StartError('port-forbidden', `This user may not open port ${port}. Choose one above 1023.`, {
        cause,
      })
    case 'ERR_OSSL_PEM_NO_START_LINE':
      return new StartError('tls-unreadable', 'The TLS certificate or key is not in PEM form.', { cause })
    default: {
      const text = `Cannot listen on ${host ?? 'any address'}, port ${port} (${codeOf(cause) ?? 'unknown reason'}).`
      return new StartError('address-unknown', text, { cause })
    }
  }
}

async function closeServer(server: Server, endSockets: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  endSockets()
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), STOP_GRACE_MS)
  await closed
  clearTimeout(timer)
}
