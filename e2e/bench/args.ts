/** The command line of `npm run bench`. */
import { parseArgs } from 'node:util'

export type Args = Readonly<{
  /** Empty: all. */
  names: readonly string[]
  quick: boolean
  json: boolean
  pairs: number | undefined
  profileDir: string | undefined
  only: string | undefined
}>

export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** @throws UsageError */
export function readArgs(argv: readonly string[], known: readonly string[]): Args {
  let parsed
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        pairs: { type: 'string' },
        profile: { type: 'string' },
        only: { type: 'string' },
        tabs: { type: 'boolean', default: false },
        'wallet-tps': { type: 'string' },
        lnd: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  const { values, positionals } = parsed
  if (values.help) throw new UsageError(usageText(known))
  const only = (name: string, flag: string): string => {
    if (name !== 'paid') throw new UsageError(`--${flag} belongs to: npm run bench -- paid --${flag}`)
    return `paid --${flag}`
  }
  const names = positionals.map((name) => {
    if (values.tabs) return only(name, 'tabs')
    if (values['wallet-tps'] !== undefined) return only(name, 'wallet-tps')
    return values.lnd ? only(name, 'lnd') : name
  })
  const strange = names.find((name) => !known.includes(name))
  if (strange !== undefined) throw new UsageError(`There is no bench "${strange}".\n${usageText(known)}`)
  const pairs = values.pairs === undefined ? undefined : Number(values.pairs)
  if (pairs !== undefined && !(Number.isInteger(pairs) && pairs > 0 && pairs <= 100))
    throw new UsageError('--pairs takes a whole number from 1 to 100.')
  if (values['wallet-tps'] !== undefined && values['wallet-tps'] !== '33')
    throw new UsageError('--wallet-tps is measured at 33 payments a second: --wallet-tps 33.')
  return {
    names,
    quick: values.quick,
    json: values.json,
    pairs,
    profileDir: values.profile,
    only: values.only,
  }
}

export const usageText = (known: readonly string[]): string =>
  `Usage: npm run bench -- [NAME…] [--quick] [--json] [--pairs N] [--only ROW] [--profile DIR]
Without a name all run: ${known.join(', ')}.`
