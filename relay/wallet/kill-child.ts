/**
 * For kill.test.ts: serves one wallet directory until it kills itself with SIGKILL at a given step, so that the parent
 * can look at what a dead process left. argv: directory, step (`write:N` the Nth change to the database is about to be
 * made, `commit` the payment is committed and its answer not sent, `none`), then the request event to execute.
 */
import { readFileSync } from 'node:fs'
import { StatementSync } from 'node:sqlite'
import type { NostrEvent } from '../../web/core/nostr/event.ts'
import { createWalletService } from './service.ts'

const [dataDir = '', step = '', eventFile = ''] = process.argv.slice(2)
const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('unreachable')
}
const quiet = (): void => undefined
let armed = false
let deliver: (event: NostrEvent) => void = quiet
createWalletService({
  dataDir,
  relaySecret: new Uint8Array(32).fill(3),
  nostr: {
    publish: (event) => {
      if (armed && step === 'commit') die()
      if (armed) process.stdout.write(`${JSON.stringify(event)}\n`)
    },
    subscribe: (_, fn) => {
      deliver = fn
      return quiet
    },
  },
  nostrUrl: () => 'ws://127.0.0.1:1',
  money: 'sandbox:test',
  schedule: (run) => run(),
  feePpm: 10_000,
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
})
const killAtWrite = Number(/^write:(\d+)$/.exec(step)?.[1] ?? Infinity)
const { run } = Object.getOwnPropertyDescriptors(StatementSync.prototype)
const original = run.value as (this: StatementSync, ...params: unknown[]) => unknown
let writes = 0
Object.defineProperty(StatementSync.prototype, 'run', {
  ...run,
  value(this: StatementSync, ...params: unknown[]) {
    if (armed && ++writes === killAtWrite) die()
    return original.apply(this, params)
  },
})
armed = true
deliver(JSON.parse(readFileSync(eventFile, 'utf8')) as NostrEvent)
process.stdout.write(`writes ${writes}\n`)
process.exit(0)
