/** For tests: the wallet service behind a real Nostr relay on a free port of this machine. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocketServer } from 'ws'
import { loadSecp } from '#secp'
import type { SecretKey } from '../../web/core/nostr/event.ts'
import { serveConnection } from '../nostr/connection.ts'
import { createNostrCore, type NostrCore } from '../nostr/relay.ts'
import { openEventStore } from '../nostr/store.ts'
import type { Limits } from './limits.ts'
import type { LightningNode, NodeStatus } from './node.ts'
import { createWalletService, type WalletLog, type WalletService } from './service.ts'

export const silent: WalletLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}

export type TestService = {
  wallet: WalletService
  core: NostrCore
  url: string
  dataDir: string
  advance(ms: number): void
  now(): number
  stop(): Promise<void>
}

/** `dataDir` and `secret` given: the same service, started again. */
export async function startService(
  options: {
    holdLimitMs?: number
    dataDir?: string
    secret?: SecretKey
    log?: WalletLog
    feePpm?: number
    limits?: Limits
    lightning?: { node: LightningNode; status: NodeStatus }
    schedule?: (run: () => void) => void
  } = {},
): Promise<TestService> {
  await loadSecp()
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'satpatch-wallet-'))
  let offset = 0
  const now = (): number => Date.now() + offset
  const fail = (error: unknown): never => {
    throw error as Error
  }
  const store = openEventStore(join(dataDir, 'events.sqlite'))
  const core = createNostrCore({ store, nowMs: now, onError: fail })
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  await new Promise((resolve) => server.once('listening', resolve))
  server.on('connection', (socket, { socket: stream }) =>
    serveConnection(socket, { core, nowMs: now, stream, mayStore: () => true, onError: fail }),
  )
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`
  const wallet = createWalletService({
    dataDir,
    relaySecret: options.secret ?? new Uint8Array(randomBytes(32)),
    nostr: core,
    nostrUrl: () => url,
    money: 'sandbox:test',
    log: options.log ?? silent,
    now,
    // Answers come before `send` returns, unless a test wants them as they come in life.
    schedule: options.schedule ?? ((run) => run()),
    ...(options.holdLimitMs !== undefined && { holdLimitMs: options.holdLimitMs }),
    ...(options.feePpm !== undefined && { feePpm: options.feePpm }),
    ...(options.limits && { limits: options.limits }),
    ...(options.lightning && { lightning: options.lightning }),
  })
  return {
    ...{ wallet, core, url, dataDir, now },
    advance: (ms) => (offset += ms),
    async stop() {
      for (const client of server.clients) client.terminate()
      await new Promise((resolve) => server.close(resolve))
      await wallet.stop()
      store.close()
      if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true })
    },
  }
}
