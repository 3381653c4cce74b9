/** `satpatch wallet …`: accounts cut from a wallet, connections cut from accounts, payments. */
import { randomBytes } from 'node:crypto'
import { parsePartyKey, toHex } from '../../web/core/bytes.ts'
import { peekInvoice } from '../../web/core/money/bolt11.ts'
import type { Money, Msat } from '../../web/core/money/msat.ts'
import { publicKey } from '../../web/core/nostr/event.ts'
import { composeConnection } from '../../web/edge/wallet/nwc.ts'
import type { ConnectionState, Wallet } from '../../web/edge/wallet/wallet.ts'
import { CliError, EXIT, usage, type Command, type ExitCode, type Input } from './command.ts'
import { readAmount, showAmount } from './wallet-amount.ts'
import { clientOf, openBook, walletFlags, type Account, type WalletBook } from './wallet-book.ts'

const everything = new Set(['pay', 'receive'] as const)
const INVOICE_EXPIRY_S = 3600

type Told = { text: readonly string[]; data: object; code?: ExitCode }

/** A verb: opens the book, runs, tells as text or as one JSON object, closes what it opened. */
function verb(
  command: Omit<Command, 'verb' | 'run'> & { name: string },
  run: (book: WalletBook, input: Input) => Promise<Told>,
): Command {
  const { name, ...rest } = command
  return {
    ...rest,
    verb: `wallet ${name}`,
    flags: { ...rest.flags, ...walletFlags },
    async run(input) {
      const book = await openBook(input.flags)
      try {
        const { text, data, code } = await run(book, input)
        if (input.json) input.out(JSON.stringify(data))
        else for (const line of text) input.out(line)
        return code ?? EXIT.ok
      } finally {
        book.close()
      }
    },
  }
}

const accountFlag: Command['flags'] = {
  account: { value: 'NAME', help: 'an account instead of the wallet it was made from' },
}
const accountArgument = { name: 'ACCOUNT', help: 'the name of an account' }
const opened = (book: WalletBook, { flags }: Input): Promise<Wallet> => {
  const name = flags.text('account')
  return name === undefined ? book.source() : book.open(book.account(name))
}

const getinfo = verb(
  { name: 'getinfo', summary: 'What the wallet is, what it can do and what it has.', flags: accountFlag },
  async (book, input) => {
    const wallet = await opened(book, input)
    const [info, balance, budget] = [await wallet.info(), await wallet.balance(), await wallet.budget()]
    const show = (amount: Msat): string => showAmount(amount, info.money)
    const features = [...info.features]
    return {
      text: [
        `${info.alias} (${info.money})`,
        `balance    ${show(balance)}`,
        ...(budget ? [`budget     ${show(budget.used)} of ${show(budget.total)} used`] : []),
        `can        ${features.join(', ')}`,
      ],
      data: { alias: info.alias, money: info.money, balanceMsat: balance, budget: budget ?? null, features },
    }
  },
)

const create = verb(
  {
    name: 'create',
    summary: 'Makes an account with an amount of its own, taken from the wallet.',
    argument: { name: 'AMOUNT', help: 'with its unit: 500sat, 1500msat' },
    flags: { name: { value: 'NAME', help: 'what to call it (default account-N)' } },
  },
  async (book, { argument, flags }) => {
    const limit = readAmount(argument)
    const source = await book.source()
    const { money } = await source.info()
    // The key is on the disk before anything moves to it.
    const account = await book.add(flags.text('name') ?? freeName(book))
    const request = { name: account.name, limit, isolated: true, renewal: 'never', may: everything } as const
    try {
      const made = await source.createConnection({ ...request, client: clientOf(account) })
      await book.reachedBy(account, made)
    } catch (error) {
      if (wasRefused(error)) await book.remove(account)
      throw error
    }
    return {
      text: [`${account.name} has ${showAmount(limit, money)}.`],
      data: { account: account.name, client: clientOf(account), balanceMsat: limit, money },
    }
  },
)
const freeName = ({ accounts }: WalletBook): string => {
  const taken = new Set(accounts.map(({ name }) => name))
  let n = 1
  while (taken.has(`account-${n}`)) n++
  return `account-${n}`
}
/** Said no, as against no answer: then nobody knows whether the account was made, and its key is kept. */
const wasRefused = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code !== 'unreachable'

const limitFlags: Command['flags'] = {
  limit: { value: 'AMOUNT', help: 'what may be spent over it (default: all of the account)' },
}
/** A connection to the account for this key: not more than its limit, where there is one. */
async function cut(book: WalletBook, account: Account, client: string, input: Input) {
  const wallet = await book.open(account)
  const given = input.flags.text('limit')
  const limit = given === undefined ? await wallet.balance() : readAmount(given, '--limit')
  const request = {
    name: `${account.name}`,
    limit,
    isolated: false,
    renewal: 'never',
    may: everything,
  } as const
  return wallet.createConnection({ ...request, client })
}

const listen = verb(
  {
    name: 'listen',
    summary: 'Makes a connection string to an account, for whoever is to spend from it.',
    about: 'The string opens the account up to its limit: give it to nobody else. It is shown once.',
    argument: accountArgument,
    flags: limitFlags,
  },
  async (book, input) => {
    const account = book.account(input.argument)
    const secret = new Uint8Array(randomBytes(32))
    const { walletPubkey, relays } = await cut(book, account, publicKey(secret), input)
    const connection = composeConnection({ wallet: walletPubkey, relays, secret: toHex(secret) })
    return { text: [connection], data: { account: account.name, connection, client: publicKey(secret) } }
  },
)

const connect = verb(
  {
    name: 'connect',
    summary: 'Connects a client key to an account; whoever made the key has its secret.',
    argument: accountArgument,
    flags: { ...limitFlags, key: { value: 'KEY', help: 'the client’s public key, 64 hex digits' } },
  },
  async (book, input) => {
    const account = book.account(input.argument)
    const client = parsePartyKey(input.flags.text('key') ?? '')
    if (!client) throw usage('--key must be the client’s public key: 64 hex digits.')
    const { walletPubkey, relays } = await cut(book, account, client, input)
    return {
      text: [`wallet ${walletPubkey}`, ...relays.map((relay) => `relay  ${relay}`)],
      data: { account: account.name, client, walletPubkey, relays },
    }
  },
)

const list = verb(
  { name: 'list', summary: 'Accounts, what they have, and who is connected to them.', flags: {} },
  async (book) => {
    const text: string[] = []
    const data: object[] = []
    for (const account of book.accounts) {
      const wallet = await book.open(account)
      const [{ money }, balance, connections] = [
        await wallet.info(),
        await wallet.balance(),
        await wallet.listConnections(),
      ]
      text.push(`${account.name.padEnd(20)} ${showAmount(balance, money)}`)
      for (const one of connections) text.push(connectionLine(one, money))
      data.push({ account: account.name, balanceMsat: balance, money, connections: connections.map(plain) })
    }
    if (text.length === 0) text.push('There are no accounts: satpatch wallet create 500sat makes one.')
    return { text, data: { accounts: data } }
  },
)
const connectionLine = (one: ConnectionState, money: Money): string => {
  const limit = one.limit === undefined ? '' : ` of ${showAmount(one.limit, money)}`
  return `  ${one.client.slice(0, 12)}…       ${showAmount(one.used, money)}${limit} used, ${one.state}`
}
const plain = ({ may, ...rest }: ConnectionState): object => ({ ...rest, may: [...may] })

const clear = verb(
  {
    name: 'clear',
    summary: 'Ends every connection to an account; the account stays.',
    argument: accountArgument,
    flags: {},
  },
  async (book, { argument }) => {
    const account = book.account(argument)
    const wallet = await book.open(account)
    const own = clientOf(account)
    const connections = (await wallet.listConnections()).filter(({ parent }) => parent === own)
    for (const { client } of connections) await wallet.deleteConnection(client)
    const ended = connections.length
    return {
      text: [`${ended} ${ended === 1 ? 'connection' : 'connections'} to ${account.name} ended.`],
      data: { account: account.name, ended },
    }
  },
)

const rm = verb(
  {
    name: 'rm',
    summary: 'Removes an account; what it has goes back to the wallet. Refused while something is connected.',
    argument: accountArgument,
    flags: {},
  },
  async (book, { argument }) => {
    const account = book.account(argument)
    const source = await book.source()
    const wallet = await book.open(account)
    const connected = (await wallet.listConnections()).length
    if (connected > 0)
      throw new CliError(
        EXIT.refused,
        `${connected} ${connected === 1 ? 'connection is' : 'connections are'} open to ${account.name}. ` +
          `satpatch wallet clear ${account.name} ends them; nothing was removed.`,
      )
    const [{ money }, balance] = [await wallet.info(), await wallet.balance()]
    await source.deleteConnection(clientOf(account))
    await book.remove(account)
    return {
      text: [`${account.name} is gone; ${showAmount(balance, money)} went back.`],
      data: { account: account.name, returnedMsat: balance, money },
    }
  },
)

const pay = verb(
  {
    name: 'pay',
    summary: 'Pays an invoice.',
    argument: { name: 'INVOICE', help: 'a BOLT 11 invoice' },
    flags: { ...accountFlag, amount: { value: 'AMOUNT', help: 'for an invoice without an amount' } },
  },
  async (book, input) => {
    const read = peekInvoice(input.argument)
    if (!read) throw usage('This is no Lightning invoice: it starts with lnbc, lntb, lntbs or lnbcrt.')
    const given = input.flags.text('amount')
    const amount = given === undefined ? undefined : readAmount(given, '--amount')
    if (read.amount === undefined && amount === undefined)
      throw usage('The invoice has no amount: say how much with --amount.')
    const wallet = await opened(book, input)
    const { money } = await wallet.info()
    const result = await wallet.pay(input.argument, amount === undefined ? {} : { amount })
    const data = { paymentHash: read.paymentHash, ...result }
    if (result.tag === 'paid') {
      const paid = read.amount ?? amount ?? (0 as Msat)
      const text = `Paid ${showAmount(paid, money)}, ${showAmount(result.fees, money)} of fees. Proof: ${result.preimage}`
      return { text: [text], data }
    }
    if (result.tag === 'unknown') return { text: [result.message], data, code: EXIT.waiting }
    if (input.json) return { text: [], data, code: EXIT.refused }
    throw new CliError(EXIT.refused, result.message)
  },
)

const invoice = verb(
  {
    name: 'invoice',
    summary: 'Makes an invoice.',
    argument: { name: 'AMOUNT', help: 'with its unit: 500sat, 1500msat' },
    flags: { ...accountFlag, memo: { value: 'TEXT', help: 'what it is for' } },
  },
  async (book, input) => {
    const wallet = await opened(book, input)
    const amount = readAmount(input.argument)
    const description = input.flags.text('memo') ?? ''
    const made = await wallet.makeInvoice({ amount, description, expirySeconds: INVOICE_EXPIRY_S })
    const { bolt11, paymentHash, expiresAtMs } = made
    return { text: [bolt11], data: { invoice: bolt11, paymentHash, amountMsat: amount, expiresAtMs } }
  },
)

export const walletCommands: readonly Command[] = [
  ...[getinfo, create, connect, listen, list, rm, pay, invoice, clear],
]
