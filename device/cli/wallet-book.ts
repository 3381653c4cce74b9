/** What `satpatch wallet` keeps: the wallet that it cuts from, and the accounts it has cut, with their connections (secret). */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import * as v from 'valibot'
import { toHex } from '../../web/core/bytes.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { openPlayAccount } from '../../web/edge/release/api.ts'
import { composeConnection, connectNwc, parseConnection } from '../../web/edge/wallet/nwc.ts'
import type { Wallet } from '../../web/edge/wallet/wallet.ts'
import { makeDirectory, writeDurably } from '../storage/durable.ts'
import { errnoOf, storageError } from '../storage/errors.ts'
import { CliError, EXIT, usage, type Command, type Flags } from './command.ts'
import { walletInput } from './secret-input.ts'

export const DEFAULT_WALLET_DIR = '.data/wallet'

/** Which wallet: of every `wallet` verb. */
export const walletFlags: Command['flags'] = {
  'wallet-file': {
    value: 'FILE',
    help: 'the wallet connection that accounts are made from (or SATPATCH_WALLET)',
  },
  relay: { value: 'URL', help: 'opens a play-money wallet at this relay, where none is known yet' },
  data: { value: 'DIR', help: `where accounts are kept (default ${DEFAULT_WALLET_DIR})` },
}

const bookSchema = v.object({
  source: v.optional(v.string()),
  accounts: v.array(v.object({ name: v.string(), connection: v.string() })),
})
export type Account = { name: string; connection: string }
type Book = v.InferOutput<typeof bookSchema>

export interface WalletBook {
  /** The wallet that accounts are cut from, opened. @throws CliError when none is known */
  source(): Promise<Wallet>
  account(name: string): Account
  readonly accounts: readonly Account[]
  open(account: Account): Promise<Wallet>
  /** Writes a fresh key down; it opens nothing until a connection is made for it. */
  add(name: string): Promise<Account>
  /** The wallet has answered: this is how the account is reached. */
  reachedBy(account: Account, wallet: { walletPubkey: string; relays: readonly string[] }): Promise<Account>
  remove(account: Account): Promise<void>
  close(): void
}

/** Opens the book of `--data`. @throws CliError, StorageError */
export async function openBook(flags: Flags): Promise<WalletBook> {
  const dir = resolve(flags.text('data') ?? DEFAULT_WALLET_DIR)
  const file = join(dir, 'wallet.json')
  let book = await readBook(file)
  const given = await walletInput(flags)
  const opened: Wallet[] = []
  /** Another command may have written meanwhile: the keys of its accounts stay. */
  const save = async (change: (book: Book) => Book): Promise<void> => {
    await makeDirectory(dir)
    const next = change(await readBook(file))
    await writeDurably(file, `${JSON.stringify(next, null, 2)}\n`)
    book = next
  }
  const open = async (connection: string): Promise<Wallet> => {
    const wallet = await connectNwc(connection)
    opened.push(wallet)
    return wallet
  }
  const sourceUri = async (): Promise<string> => {
    if (given !== undefined) return given
    if (book.source !== undefined) return book.source
    const relay = flags.text('relay')
    if (relay === undefined)
      throw usage('No wallet is known: give --wallet-file, SATPATCH_WALLET, or --relay URL for play money.')
    const { connection } = await openPlayAccount(relay, { name: 'satpatch wallet' })
    await save((now) => ({ source: connection, ...now }))
    return book.source ?? connection
  }
  return {
    source: async () => open(await sourceUri()),
    get accounts() {
      return book.accounts
    },
    account(name) {
      const found = book.accounts.find((one) => one.name === name)
      if (found) return found
      const names = book.accounts.map((one) => one.name).join(', ')
      throw usage(`There is no account "${name}".${names === '' ? '' : ` There are: ${names}.`}`)
    },
    open: ({ connection }) => open(connection),
    async add(name) {
      const parsed = parseConnection(await sourceUri())
      if (!parsed.ok) throw usage(parsed.message)
      const { wallet, relays } = parsed.connection
      const connection = composeConnection({ wallet, relays, secret: toHex(randomBytes(32)) })
      const account = { name, connection }
      await save((now) => {
        if (now.accounts.some((one) => one.name === name))
          throw usage(`There is an account "${name}" already.`)
        return { ...now, accounts: [...now.accounts, account] }
      })
      return account
    },
    async reachedBy(account, { walletPubkey, relays }) {
      const { secret } = partsOf(account)
      const connection = composeConnection({ wallet: walletPubkey, relays, secret: toHex(secret) })
      const reached = { ...account, connection }
      await save((now) => ({
        ...now,
        accounts: now.accounts.map((one) => (one.name === account.name ? reached : one)),
      }))
      return reached
    },
    remove: (account) =>
      save((now) => ({ ...now, accounts: now.accounts.filter((one) => one.name !== account.name) })),
    close() {
      for (const wallet of opened) wallet.close()
    },
  }
}

export function partsOf(account: Account) {
  const parsed = parseConnection(account.connection)
  if (!parsed.ok)
    throw new CliError(EXIT.failure, `The account "${account.name}" is damaged: ${parsed.message}`)
  return parsed.connection
}
export const clientOf = (account: Account): string => publicKey(partsOf(account).secret)

async function readBook(file: string): Promise<Book> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { accounts: [] }
    throw storageError(error, file)
  }
  try {
    return v.parse(bookSchema, JSON.parse(text))
  } catch (cause) {
    throw new CliError(
      EXIT.failure,
      `${file} cannot be read; it holds the keys of your accounts. Restore it.`,
      {
        cause,
      },
    )
  }
}
