/** What moves, in one list: payments of the wallet itself, and those that pass an allowance, each told once. */
import type { Msat } from '../../core/money/msat.ts'
import type { AllowanceView, Flow } from '../../edge/allowance/api.ts'
import type { Transaction } from '../../edge/wallet/wallet.ts'

export type Movement = Readonly<{
  id: string
  /** Who paid or was paid: the allowance nearest to its holder, or the wallet itself. */
  who: string
  for: string
  direction: 'in' | 'out'
  state: Flow['state']
  amount: Msat
  atMs: number
  why?: string
}>

const SHOWN = 8

/** Latest first. `mine` has parents before children, so the deepest layer of a payment names it. */
export function movements(
  lines: readonly Transaction[],
  mine: readonly AllowanceView[],
): readonly Movement[] {
  const found = new Map<string, Movement>()
  for (const line of lines) {
    if (line.state !== 'settled') continue
    found.set(`${line.direction}${line.paymentHash}`, {
      id: `${line.direction}${line.paymentHash}`,
      who: line.direction === 'in' ? 'Received' : 'Sent',
      for: line.description ?? '',
      direction: line.direction,
      state: 'settled',
      amount: line.amount,
      atMs: line.settledAtMs ?? line.createdAtMs,
    })
  }
  for (const { name, flows } of mine)
    for (const flow of flows) {
      const id = `${flow.direction}${flow.paymentHash}`
      found.set(id, {
        id,
        who: name,
        for: flow.description ?? found.get(id)?.for ?? '',
        direction: flow.direction,
        state: flow.state,
        amount: flow.amount,
        atMs: flow.endedAtMs ?? flow.startedAtMs,
        ...(flow.why !== undefined && { why: flow.why }),
      })
    }
  return [...found.values()].sort((a, b) => b.atMs - a.atMs || (a.id < b.id ? -1 : 1)).slice(0, SHOWN)
}
