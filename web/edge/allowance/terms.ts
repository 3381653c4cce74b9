/** What an owner may ask for when an allowance is made or changed. All throw AllowanceError `bad-terms`. */
import { MAX_LAYERS, type Terms } from '../../core/allowance/state.ts'
import { AllowanceError, type NewAllowance } from './api.ts'

export const MAX_ALLOWANCES = 100
const MAX_NAME_CHARS = 100

/** `count`: how many there are already; `depth`: which layer it would be, from 1. */
export function termsOf(wanted: NewAllowance, about: { nowMs: number; count: number; depth: number }): Terms {
  const { limit, renewal, may, expiresAtMs } = wanted
  if (about.count >= MAX_ALLOWANCES)
    throw new AllowanceError(
      'bad-terms',
      `No more than ${MAX_ALLOWANCES} allowances; remove one that was revoked.`,
    )
  if (!may.pay && !may.receive)
    throw new AllowanceError('bad-terms', 'It must be allowed to pay or to receive.')
  if (about.depth > MAX_LAYERS)
    throw new AllowanceError(
      'bad-terms',
      `No more than ${MAX_LAYERS} allowances can be cut from one another.`,
    )
  const common = { name: checkName(wanted.name), limit, renewal, may, paused: false, revoked: false }
  return expiresAtMs === undefined
    ? common
    : { ...common, expiresAtMs: checkExpiry(expiresAtMs, about.nowMs) }
}

export function checkExpiry(expiresAtMs: number, nowMs: number): number {
  if (expiresAtMs > nowMs) return expiresAtMs
  throw new AllowanceError('bad-terms', 'The expiry is in the past.')
}

export function checkName(text: string): string {
  const name = text.trim()
  if (name !== '' && name.length <= MAX_NAME_CHARS) return name
  throw new AllowanceError('bad-terms', `A name has 1 to ${MAX_NAME_CHARS} characters.`)
}
