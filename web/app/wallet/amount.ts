/** Amounts as people type them: sats, with up to three decimals. */
import { msat, type Msat } from '../../core/money/msat.ts'

export function parseSats(text: string): { amount?: Msat; fault?: string } {
  // Only groups of three are taken off: `1,5` is not fifteen.
  const plain = text.trim().replaceAll(/(?<=\d)[, _](?=\d{3}(\D|$))/g, '')
  if (plain === '') return { fault: 'Say how much.' }
  const parts = /^(\d{1,16})(?:\.(\d{1,3}))?$/.exec(plain)
  if (!parts) return { fault: 'A number of sats, with at most three decimals after a point.' }
  const [, whole = '', rest = ''] = parts
  const value = Number(whole) * 1000 + Number(rest.padEnd(3, '0'))
  if (!Number.isSafeInteger(value)) return { fault: 'Nobody has so many sats.' }
  if (value === 0) return { fault: 'More than nothing.' }
  return { amount: msat(value) }
}

/** An amount as it is typed: `12.5`, without groups. */
export const typedSats = (amount: Msat | number): string => String(amount / 1000)
