/** `satpatch allowance …`: allowances cut from a wallet, or from an allowance, run by a process instead of a tab. */
import type { Money, Msat } from '../../web/core/money/msat.ts'
import { RENEWALS, type Renewal } from '../../web/core/wallet/nip47.ts'
import type { AllowanceKeeper, AllowanceView, KeeperView, Source } from '../../web/edge/allowance/api.ts'
import { keeperFlags, keeperOf, SOURCE, type OpenKeeper } from './allowance-keeper.ts'
import { CliError, EXIT, stopSignal, usage, type Command, type ExitCode, type Input } from './command.ts'
import { readAmount, showAmount } from './wallet-amount.ts'

type Told = { text: readonly string[]; data: object }

const DAY_MS = 86_400_000
/** How often `run` tells of what passed, at most. */
const TELL_EVERY_MS = 1_000
/** A wallet that is there has answered by then. */
const ASK_MS = 3_000
/** What was changed is in the view by then. */
const SHOWN_MS = 200

/** A verb: opens the keeper or joins the one that runs, acts, tells as text or as one JSON object. */
function verb(
  command: Omit<Command, 'verb' | 'run'> & { name: string },
  run: (open: OpenKeeper, input: Input) => Promise<Told>,
): Command {
  const { name, ...rest } = command
  return {
    ...rest,
    verb: `allowance ${name}`,
    flags: { ...rest.flags, ...keeperFlags },
    async run(input): Promise<ExitCode> {
      const open = await keeperOf(input.flags, input.log)
      try {
        const { text, data } = await Promise.race([run(open, input), open.lost])
        if (input.json) input.out(JSON.stringify(data))
        else for (const line of text) input.out(line)
        return EXIT.ok
      } finally {
        await open.close()
      }
    },
  }
}

const nameArgument = { name: 'NAME', help: 'the name of an allowance, or its id' }

const runCommand: Command = {
  verb: 'allowance run',
  summary: 'Runs the allowances of a directory: they work for as long as this does.',
  about: 'The other allowance verbs, in the same directory, change them while this runs.',
  flags: keeperFlags,
  async run({ flags, json, log, out }) {
    const stopped = stopSignal()
    const open = await keeperOf(flags, log)
    if (!open.runs) {
      await open.close()
      throw new CliError(EXIT.refused, 'Another process runs the allowances of this directory already.')
    }
    const tell = teller((line) => out(line), json)
    const end = open.keeper.view.subscribe(tell)
    log.info({ signal: await stopped }, 'stopping')
    end()
    await open.close()
    return EXIT.ok
  },
}

const create = verb(
  {
    name: 'create',
    summary: 'Cuts an allowance and shows its connection string, for whoever is to spend from it.',
    about:
      'The string opens the wallet up to the limit: give it to nobody else. "allowance code" shows it again.',
    argument: { name: 'LIMIT', help: 'with its unit: 500sat, 1500msat; fees included' },
    flags: {
      name: { value: 'NAME', help: 'what to call it (default allowance-N)' },
      from: { value: 'NAME', help: 'cut it from this allowance instead of the wallet' },
      renewal: { value: 'PERIOD', help: `${RENEWALS.join(', ')} (default never)` },
      days: { value: 'N', help: 'it ends after so many days (default: never)' },
      receive: { help: 'it may receive too' },
    },
  },
  async ({ keeper, runs }, { argument, flags }) => {
    const before = await opened(keeper)
    const renewal = (flags.text('renewal') ?? 'never') as Renewal
    if (!RENEWALS.includes(renewal)) throw usage(`--renewal is one of ${RENEWALS.join(', ')}.`)
    const days = flags.count('days')
    const from = flags.text('from')
    const source: Source =
      from === undefined ? { tag: 'wallet', id: SOURCE } : { tag: 'allowance', id: find(before, from).id }
    const name = flags.text('name') ?? freeName(before)
    if (before.allowances.some((one) => one.name === name && one.state !== 'revoked'))
      throw usage(`There is an allowance "${name}" already.`)
    const limit = readAmount(argument)
    const { id, connection } = await keeper.create({
      ...{ name, source, limit, renewal, home: 'here' },
      may: { pay: true, receive: flags.has('receive') },
      ...(days !== undefined && { expiresAtMs: Date.now() + days * DAY_MS }),
    })
    const hint = runs ? ['It works while "satpatch allowance run" does.'] : []
    return { text: [connection, ...hint], data: { id, name, connection, limitMsat: limit } }
  },
)

const list = verb(
  { name: 'list', summary: 'The allowances: limit, spent, locked, left, and whether they work.', flags: {} },
  async ({ keeper, runs }) => {
    const view = await opened(keeper)
    const money = view.sources[0]?.money
    const text = view.allowances.map((one) => lineOf(one, money))
    if (text.length === 0) text.push('There are none: satpatch allowance create 500sat cuts one.')
    const { allowances, sources, atMs } = view
    return { text, data: { running: !runs, atMs, sources, allowances } }
  },
)

const code = verb(
  {
    name: 'code',
    summary: 'Shows the connection string of an allowance again.',
    argument: nameArgument,
    flags: {},
  },
  async ({ keeper }, { argument }) => {
    const { id, name } = find(await opened(keeper), argument)
    const connection = await keeper.connection(id)
    return { text: [connection], data: { id, name, connection } }
  },
)

const limit = verb(
  {
    name: 'limit',
    summary: 'Moves a limit: in force for the next payment; those in flight finish and count.',
    argument: nameArgument,
    flags: { to: { value: 'AMOUNT', help: 'the new limit: 500sat, 1500msat' } },
  },
  (open, input) => changed(open, input, (keeper, { id }) => keeper.setLimit(id, amountOf(input, 'to'))),
)
const topUp = verb(
  {
    name: 'topup',
    summary: 'Raises the limit; of a renewing allowance, that of this period only.',
    argument: nameArgument,
    flags: { by: { value: 'AMOUNT', help: 'by how much: 500sat, 1500msat' } },
  },
  (open, input) => changed(open, input, (keeper, { id }) => keeper.topUp(id, amountOf(input, 'by'))),
)
const simple = (
  name: string,
  summary: string,
  run: (keeper: AllowanceKeeper, one: AllowanceView) => Promise<void>,
): Command =>
  verb({ name, summary, argument: nameArgument, flags: {} }, (open, input) => changed(open, input, run))

export const allowanceCommands: readonly Command[] = [
  ...[runCommand, create, list, code, limit, topUp],
  simple('pause', 'Lets no new payment start.', (keeper, { id }) => keeper.pause(id)),
  simple('resume', 'Lets payments start again.', (keeper, { id }) => keeper.resume(id)),
  simple('revoke', 'Ends it for ever, and what was cut from it here.', (keeper, { id }) => keeper.revoke(id)),
]

async function changed(
  { keeper }: OpenKeeper,
  { argument }: Input,
  run: (keeper: AllowanceKeeper, one: AllowanceView) => Promise<void>,
): Promise<Told> {
  const one = find(await opened(keeper), argument)
  await run(keeper, one)
  const before = keeper.view.get()
  const after = await within(SHOWN_MS, keeper, (view) => view !== before)
  const now = after.allowances.find(({ id }) => id === one.id) ?? one
  return { text: [lineOf(now, after.sources[0]?.money)], data: now }
}

function amountOf({ flags }: Input, name: string): Msat {
  const given = flags.text(name)
  if (given === undefined) throw usage(`Say how much: --${name} 500sat.`)
  return readAmount(given, `--${name}`)
}

/** The view as soon as it is known what the allowances are, and what money they are in if that is told soon. */
const opened = (keeper: AllowanceKeeper): Promise<KeeperView> =>
  within(
    ASK_MS,
    keeper,
    ({ role, sources: [source] }) =>
      role === 'watches' || (role === 'runs' && (source?.money ?? source?.trouble) !== undefined),
  )

/** The first view that is as wanted, or the one there is after `ms`. */
function within(
  ms: number,
  { view }: AllowanceKeeper,
  wanted: (view: KeeperView) => boolean,
): Promise<KeeperView> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      // It may be so at once, when there is nothing to end yet.
      queueMicrotask(() => end())
      resolve(view.get())
    }
    const timer = setTimeout(done, ms)
    const end = view.subscribe((now) => {
      if (wanted(now)) done()
    })
  })
}

/** @throws CliError */
function find({ allowances }: KeeperView, name: string): AllowanceView {
  const found = allowances.filter((one) => one.id === name || (one.name === name && one.state !== 'revoked'))
  if (found.length === 1 && found[0]) return found[0]
  if (found.length > 1)
    throw usage(
      `${found.length} allowances are called "${name}": say which, ${found.map(({ id }) => id).join(' or ')}.`,
    )
  const names = allowances.filter(({ state }) => state !== 'revoked').map((one) => one.name)
  throw usage(
    `There is no allowance "${name}".${names.length === 0 ? '' : ` There are: ${names.join(', ')}.`}`,
  )
}

function freeName({ allowances }: KeeperView): string {
  const taken = new Set(allowances.map(({ name }) => name))
  let n = 1
  while (taken.has(`allowance-${n}`)) n++
  return `allowance-${n}`
}

function lineOf(one: AllowanceView, money: Money | undefined): string {
  const show = (amount: number): string =>
    money === undefined ? `${amount / 1000} sats` : showAmount(amount as Msat, money)
  const parts = [
    `${show(one.left)} left of ${show(one.limit + one.extra)}`,
    ...(one.reserved > 0 ? [`${show(one.reserved)} locked`] : []),
    `${show(one.spent)} spent`,
    one.state,
    ...(one.trouble === undefined ? [] : [one.trouble]),
  ]
  return `${'  '.repeat(one.depth - 1)}${one.name.padEnd(20 - 2 * (one.depth - 1))} ${parts.join(', ')}`
}

/** Tells what changed, together, at most once in `TELL_EVERY_MS`: a line for each allowance, or the view as JSON. */
function teller(out: (line: string) => void, json: boolean): (view: KeeperView) => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  let latest: KeeperView | undefined
  const told = new Map<string, string>()
  const tell = (): void => {
    timer = undefined
    const { allowances = [], sources = [], atMs } = latest ?? {}
    const lines = allowances.map((one): [string, string] => [one.id, lineOf(one, sources[0]?.money)])
    const news = lines.filter(([id, line]) => told.get(id) !== line)
    if (news.length === 0) return
    for (const [id, line] of news) told.set(id, line)
    if (json) out(JSON.stringify({ atMs, sources, allowances }))
    else for (const [, line] of news) out(line)
  }
  return (view) => {
    if (view.role !== 'runs') return
    latest = view
    timer ??= setTimeout(tell, told.size === 0 ? 0 : TELL_EVERY_MS)
  }
}
