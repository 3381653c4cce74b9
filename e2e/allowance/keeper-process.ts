/**
 * For kill.full.test.ts: a keeper in a process of its own, over a wallet connection and a journal on disk, to be killed at
 * any moment. argv: directory, wallet connection, relay, and a limit in msat for a first allowance. Says
 * `connection <uri>` once, and `flows <open ones> spent <msat> available <msat>` at each change.
 */
import { lockDirectory } from '../../device/run/lock.ts'
import { openJournal } from '../../device/storage/journal.ts'
import { liveCell } from '../../web/core/live.ts'
import { msat } from '../../web/core/money/msat.ts'
import type { OpenSource } from '../../web/edge/allowance/api.ts'
import { openKeeper } from '../../web/edge/allowance/keeper.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'

const [directory = '', uri = '', relay = '', limit = '0'] = process.argv.slice(2)
const wallet = await connectNwc(uri, { replyTimeoutMs: 2_000, payTimeoutMs: 60_000 })
const journal = await openJournal(directory)
const keeper = openKeeper({
  sources: liveCell<ReadonlyMap<string, OpenSource>>(new Map([['above', { name: 'above', wallet }]])),
  journal,
  // The kernel drops it with the process: the one that follows a kill gets it.
  lock: {
    acquire: async () => {
      const unlock = await lockDirectory(directory)
      return () => void unlock()
    },
  },
  relays: [relay],
})
const say = (line: string): void => void process.stdout.write(`${line}\n`)
let said = ''
keeper.view.subscribe(({ role, allowances: [mine] }) => {
  if (role !== 'runs') return
  const line = mine
    ? `flows ${mine.flows.filter(({ state }) => state === 'in-flight' || state === 'unknown').length} spent ${mine.spent} available ${mine.available ?? 'unheard'}`
    : 'none'
  if (line === said) return
  said = line
  say(line)
})
if ((await journal.keys('allowance/')).length === 0) {
  const made = await keeper.create({
    ...{
      name: 'middle',
      source: { tag: 'wallet', id: 'above' },
      limit: msat(Number(limit)),
      renewal: 'never',
    },
    ...{ may: { pay: true, receive: true }, home: 'here' },
  })
  say(`connection ${made.connection}`)
}
