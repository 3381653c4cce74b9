/** For tests: relays in directories of their own, stopped and removed after each test. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { startRelay, type RelayOptions, type RunningRelay } from './relay.ts'

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step()
})

/** Runs `step` after the test, latest first. */
export const afterTest = (step: () => unknown): void => void undo.push(step)

export async function directory(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'satpatch-relay-'))
  afterTest(() => rm(dir, { recursive: true, force: true }))
  return dir
}

const nothing = () => undefined
export const silent = { debug: nothing, info: nothing, warn: nothing, error: nothing }

export async function relay(options: Partial<RelayOptions> = {}): Promise<RunningRelay> {
  const running = await startRelay({
    port: 0,
    host: '127.0.0.1',
    dataDir: options.dataDir ?? (await directory()),
    iceServers: [],
    log: silent,
    openAccounts: { grantMsat: 1_000_000, perAddress: 3 },
    ...options,
  })
  afterTest(() => running.stop())
  return running
}
