/** An allowance as it is typed, in sats: the amount, or what is wrong with it. */
import { msat, unitOf, type Money, type Msat } from '../../core/money/msat.ts'
import type { Given } from '../../edge/vendor/api.ts'
import type { Balance } from '../shell/status.svelte.ts'
import { sats } from '../ui/format.ts'

export type Typed = Readonly<{ msat: Msat; fault?: undefined }> | Readonly<{ fault: string }>

/** `least`: "any" takes 0, which gives none. */
export function readAllowance(
  text: string,
  balance: Balance | undefined,
  least: 'any' | 'some' = 'any',
): Typed {
  const trimmed = text.trim()
  if (!/^\d{1,9}(\.\d{1,3})?$/.test(trimmed))
    return { fault: least === 'any' ? 'A number of sats, 0 for none.' : 'A number of sats.' }
  const amount = msat(Math.round(Number(trimmed) * 1000))
  if (amount === 0 && least === 'some') return { fault: 'More than 0.' }
  if (balance !== undefined && amount > balance.msat)
    return { fault: `Your wallet holds ${sats(balance.msat)} ${unitOf(balance.money)}.` }
  return { msat: amount }
}

/** What became of giving. */
export function givenWords(name: string, { again, amount }: Given, money: Money): string {
  const sum = amount === undefined ? undefined : `${sats(amount, 'tally')} ${unitOf(money)}`
  if (!again) return `${name} has been given ${sum ?? 'an allowance'}`
  const has = sum === undefined ? 'its allowance' : `its allowance of ${sum}`
  return `${name} has not taken up ${has} yet: told again. Nothing was added`
}
