/** The command line's grammar: verbs, flags, help and exit codes, from one description each. */
import { parseArgs } from 'node:util'
import { createLog, logLevels, type Logger, type LogLevel } from '../log.ts'
import { didYouMean } from './suggest.ts'

/** Documented in every `--help`. */
export const EXIT = { ok: 0, failure: 1, usage: 2, refused: 3, waiting: 4 } as const
export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

const EXIT_HELP = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused or not verified, 4 still waiting.`

/** The message is shown without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError'
  readonly code: ExitCode
  constructor(code: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
export const usage = (message: string): CliError => new CliError(EXIT.usage, message)

type Flag = Readonly<{
  /** The value's name in the help; absent for a switch. */
  value?: string
  help: string
  many?: boolean
}>

export type Command = Readonly<{
  verb: string
  summary: string
  /** More lines of help. */
  about?: string
  argument?: Readonly<{ name: string; help: string }>
  flags: Readonly<Record<string, Flag>>
  run(input: Input): Promise<ExitCode>
}>

export type Input = Readonly<{
  argument: string
  flags: Flags
  json: boolean
  log: Logger
  /** One line for a person, or for a program that reads stdout. */
  out(text: string): void
}>

export interface Flags {
  has(name: string): boolean
  text(name: string): string | undefined
  texts(name: string): readonly string[]
  /** A whole number >= 0. @throws CliError */
  count(name: string): number | undefined
}

const COMMON: Readonly<Record<string, Flag>> = {
  json: { help: 'data as JSON on stdout' },
  'log-level': { value: 'LEVEL', help: `${logLevels.join(', ')} (default info)` },
  help: { help: 'this help' },
}

const flagLine = (name: string, flag: Flag): string =>
  `  ${`--${name}${flag.value === undefined ? '' : ` ${flag.value}`}`.padEnd(28)} ${flag.help}`

export function commandHelp(command: Command): string {
  const argument = command.argument === undefined ? '' : ` ${command.argument.name}`
  return [
    `satpatch ${command.verb}${argument} [options]`,
    '',
    command.summary,
    ...(command.about === undefined ? [] : ['', command.about.trim()]),
    '',
    ...(command.argument === undefined
      ? []
      : [`  ${command.argument.name.padEnd(28)} ${command.argument.help}`]),
    ...Object.entries({ ...command.flags, ...COMMON }).map(([name, flag]) => flagLine(name, flag)),
    '',
    EXIT_HELP,
  ].join('\n')
}

export function overview(commands: readonly Command[], version: string): string {
  return [
    `satpatch ${version}: signed updates for device fleets, carried by a swarm that is paid in sats.`,
    '',
    ...commands.map(
      ({ verb, argument, summary }) => `  ${`${verb} ${argument?.name ?? ''}`.padEnd(22)} ${summary}`,
    ),
    '',
    'satpatch VERB --help tells more; satpatch --version names the version.',
    EXIT_HELP,
  ].join('\n')
}

/** The command that `args` name and what is left of them. @throws CliError */
export function findCommand(
  commands: readonly Command[],
  args: readonly string[],
): { command: Command; rest: string[] } {
  for (const words of [2, 1]) {
    const verb = args.slice(0, words).join(' ')
    const command = commands.find((one) => one.verb === verb)
    if (command !== undefined) return { command, rest: args.slice(words) }
  }
  const verbs = commands.map((one) => one.verb)
  const [first = '', second] = args
  const under = verbs.filter((verb) => verb.startsWith(`${first} `))
  if (under.length > 0) {
    const words = under.map((verb) => verb.split(' ')[1] ?? '')
    const asked =
      second === undefined || second.startsWith('-') ? 'Say which' : `There is no "${first} ${second}"`
    throw usage(
      `${asked}: satpatch ${first} ${words.join(' | ')}.${second === undefined ? '' : didYouMean(second, words)}`,
    )
  }
  const firsts = [...new Set(verbs.map((verb) => verb.split(' ')[0] ?? ''))]
  throw usage(
    `There is no "satpatch ${first}".${didYouMean(first, firsts, 'satpatch ')} satpatch --help lists what there is.`,
  )
}

/** Values by these names are whole numbers. */
const NUMBERS = new Set(['PORT', 'N', 'SATS', 'MSAT_PER_MIB', 'MIB', 'KIB_PER_S', 'SECONDS', 'BYTES'])

/** @throws CliError */
export function parseFlags(
  command: Command,
  rest: readonly string[],
): { flags: Flags; argument: string; help: boolean } {
  const known = { ...command.flags, ...COMMON }
  const { tokens } = parseArgs({
    args: [...rest],
    strict: false,
    tokens: true,
    allowPositionals: true,
    options: Object.fromEntries(
      Object.entries(known).map(
        ([name, flag]) => [name, { type: flag.value === undefined ? 'boolean' : 'string' }] as const,
      ),
    ),
  })
  const values = new Map<string, string[]>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const flag = Object.hasOwn(known, token.name) ? known[token.name] : undefined
    if (flag === undefined) {
      const names = Object.keys(known)
      throw usage(
        `satpatch ${command.verb} has no ${token.rawName}.${didYouMean(token.name, names, '--')} satpatch ${command.verb} --help lists its options.`,
      )
    }
    if (flag.value === undefined) {
      if (token.value !== undefined) throw usage(`--${token.name} takes no value.`)
      values.set(token.name, [''])
      continue
    }
    if (token.value === undefined || (!token.inlineValue && token.value.startsWith('--'))) {
      throw usage(`--${token.name} needs a value: --${token.name} ${flag.value}.`)
    }
    if (NUMBERS.has(flag.value) && !isCount(token.value)) {
      throw usage(`--${token.name} must be a whole number, not "${token.value.slice(0, 40)}".`)
    }
    const before = values.get(token.name) ?? []
    if (before.length > 0 && flag.many !== true) throw usage(`--${token.name} stands there twice.`)
    values.set(token.name, [...before, token.value])
  }
  const help = values.has('help')
  const wanted = command.argument === undefined ? 0 : 1
  if (!help && positionals.length < wanted)
    throw usage(`satpatch ${command.verb} needs ${command.argument?.name}.`)
  if (positionals.length > wanted)
    throw usage(`"${positionals[wanted]}" is one word too many. Put names with spaces in quotes.`)
  return { help, argument: positionals[0] ?? '', flags: flagsOver(values) }
}

const isCount = (text: string): boolean => /^\d+$/.test(text) && Number.isSafeInteger(Number(text))

function flagsOver(values: ReadonlyMap<string, readonly string[]>): Flags {
  const text = (name: string): string | undefined => values.get(name)?.[0]
  return {
    has: (name) => values.has(name),
    text,
    texts: (name) => values.get(name) ?? [],
    count(name) {
      const given = text(name)
      if (given === undefined) return undefined
      if (!isCount(given)) throw usage(`--${name} must be a whole number.`)
      return Number(given)
    },
  }
}

export function logFor(flags: Flags): Logger {
  const level = flags.text('log-level') ?? 'info'
  if (!(logLevels as readonly string[]).includes(level)) {
    throw usage(`--log-level must be one of ${logLevels.join(', ')}.`)
  }
  return createLog(level as LogLevel)
}

/** Resolves at SIGINT or SIGTERM; a second one ends the process at once. */
export function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let asked = false
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        if (asked) process.exit(EXIT.failure)
        asked = true
        resolve(signal)
      })
    }
  })
}
