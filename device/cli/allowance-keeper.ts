/** The keeper of one directory: this process runs it when no other does, else it is joined over its socket. */
import { join, resolve } from 'node:path'
import { liveCell } from '../../web/core/live.ts'
import { parseConnection } from '../../web/core/wallet/connection.ts'
import type { AllowanceKeeper, OpenSource } from '../../web/edge/allowance/api.ts'
import { openKeeper } from '../../web/edge/allowance/keeper.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import type { Journal } from '../../web/edge/swarm/api.ts'
import { connectNwc } from '../../web/edge/wallet/nwc.ts'
import { asEventLog, type Logger } from '../log.ts'
import { joinLink, serveLink } from '../run/keeper-link.ts'
import { lockDirectory, LockedError } from '../run/lock.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { openJournal } from '../storage/journal.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'
import { keptSecret, walletInput } from './secret-input.ts'

export const DEFAULT_ALLOWANCE_DIR = '.data/allowances'
/** The id of the one wallet that a directory's allowances are cut from. */
export const SOURCE = 'wallet'

export const keeperFlags: Command['flags'] = {
  'wallet-file': {
    value: 'FILE',
    help: 'the wallet connection to cut from, itself an allowance perhaps (or SATPATCH_WALLET); kept for the next time',
  },
  relay: { value: 'URL', help: 'opens a play-money wallet at this relay, where none is known yet' },
  nostr: {
    value: 'URL',
    help: 'Nostr relay where holders find it (default: the wallet’s own); may be repeated',
    many: true,
  },
  data: { value: 'DIR', help: `where allowances are kept (default ${DEFAULT_ALLOWANCE_DIR})` },
}

export type OpenKeeper = Readonly<{
  keeper: AllowanceKeeper
  /** This process runs them; `false`: another does. */
  runs: boolean
  /** Rejects when the process that runs them ends. */
  lost: Promise<never>
  close(): Promise<void>
}>

/** @throws CliError, StorageError, WalletError, ApiError */
export async function keeperOf(flags: Flags, log: Logger): Promise<OpenKeeper> {
  const directory = resolve(flags.text('data') ?? DEFAULT_ALLOWANCE_DIR)
  await makeDirectory(directory)
  let unlock: () => Promise<void>
  try {
    unlock = await lockDirectory(directory)
  } catch (error) {
    if (!(error instanceof LockedError)) throw error
    return joined(directory, log)
  }
  try {
    return await own(directory, flags, log, unlock)
  } catch (error) {
    await unlock()
    throw error
  }
}

async function own(
  directory: string,
  flags: Flags,
  log: Logger,
  unlock: () => Promise<void>,
): Promise<OpenKeeper> {
  const connection = await sourceOf(directory, flags)
  const parsed = parseConnection(connection)
  if (!parsed.ok) throw new CliError(EXIT.usage, parsed.message)
  const given = flags.texts('nostr')
  const relays = given.length > 0 ? given : parsed.connection.relays
  const wallet = await connectNwc(connection)
  const journal = await openJournal(join(directory, 'journal'))
  const channel = await serveLink(directory)
  const sources = liveCell<ReadonlyMap<string, OpenSource>>(new Map([[SOURCE, { name: SOURCE, wallet }]]))
  const keeper = openKeeper({
    sources,
    journal,
    channel,
    relays,
    // The directory is ours already.
    lock: { acquire: async () => () => undefined },
    log: asEventLog(log.child({ part: 'allowances' })),
  })
  return {
    keeper,
    runs: true,
    lost: new Promise<never>(() => undefined),
    async close() {
      await keeper.close()
      wallet.close()
      await journal.idle()
      await unlock()
    },
  }
}

async function joined(directory: string, log: Logger): Promise<OpenKeeper> {
  let tellLost: (error: Error) => void = () => undefined
  const lost = new Promise<never>((_, reject) => (tellLost = reject))
  lost.catch(() => undefined) // heard only while somebody waits for an answer
  const gone = `The process that ran the allowances of ${directory} has ended. Look whether it happened, then try again.`
  const channel = await joinLink(directory, () => tellLost(new CliError(EXIT.failure, gone)))
  if (!channel)
    throw new CliError(
      EXIT.failure,
      `Another process holds ${directory} and does not answer. It may be starting: try again.`,
    )
  const keeper = openKeeper({
    sources: liveCell<ReadonlyMap<string, OpenSource>>(new Map()),
    journal: nothingKept,
    channel,
    relays: [],
    lock: { acquire: neverOurs },
    log: asEventLog(log),
  })
  return { keeper, runs: false, lost, close: () => keeper.close() }
}

/** Waits until the keeper is closed: the directory is the other process's. */
const neverOurs = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) =>
    signal.addEventListener('abort', () =>
      reject(signal.reason instanceof Error ? signal.reason : new Error()),
    ),
  )
const nothingKept: Journal = {
  put: async () => undefined,
  get: async () => undefined,
  delete: async () => undefined,
  keys: async () => [],
}

/** What was given, else what was kept, else play money of `--relay`; kept from now on. */
async function sourceOf(directory: string, flags: Flags): Promise<string> {
  const file = join(directory, 'wallet')
  const given = await walletInput(flags)
  const kept = await keptSecret(file)
  const relay = flags.text('relay')
  if (given === undefined && kept !== undefined) return kept
  if (given === undefined && relay === undefined)
    throw usage('No wallet is known: give --wallet-file, SATPATCH_WALLET, or --relay URL for play money.')
  const connection = given ?? (await openPlayAccount(relay ?? '', { name: 'satpatch allowance' })).connection
  if (connection !== kept) await writeDurably(file, `${connection}\n`)
  return connection
}
