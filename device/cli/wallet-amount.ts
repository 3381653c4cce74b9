/** Amounts on the command line always have a unit. */
import { msat, unitOf, type Money, type Msat } from '../../web/core/money/msat.ts'
import { usage } from './command.ts'

const FORM = /^(\d{1,13})(?:\.(\d{1,3}))?\s*(sats?|msats?)$/i

/** `500sat`, `1.5sat`, `1500msat`. @throws CliError */
export function readAmount(text: string, what = 'The amount'): Msat {
  const found = FORM.exec(text.trim())
  if (!found)
    throw usage(`${what} "${text.slice(0, 40)}" has no unit that is known: write 500sat, 1.5sat or 1500msat.`)
  const [, whole = '', part = '', unit = ''] = found
  if (unit.toLowerCase().startsWith('m')) {
    if (part !== '') throw usage(`${what} is less than a whole msat.`)
    return checked(Number(whole), what)
  }
  return checked(Number(whole) * 1000 + Number(part.padEnd(3, '0')), what)
}

function checked(value: number, what: string): Msat {
  if (!Number.isSafeInteger(value)) throw usage(`${what} is more than can be counted.`)
  return msat(value)
}

/** `1.5 play sats` */
export function showAmount(amount: Msat, money: Money): string {
  const part = amount % 1000
  const whole = String((amount - part) / 1000)
  return `${part === 0 ? whole : `${whole}.${String(part).padStart(3, '0').replace(/0+$/, '')}`} ${unitOf(money)}`
}
