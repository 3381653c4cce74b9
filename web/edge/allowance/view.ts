/** What the owner sees of an allowance that runs here, or that its wallet runs. */
import {
  leftOf,
  reservedOf,
  rolled,
  standingOf,
  unknownOf,
  type Payment,
} from '../../core/allowance/state.ts'
import { msat, ZERO } from '../../core/money/msat.ts'
import { renewsAt } from '../../core/wallet/budget.ts'
import type { ConnectionState } from '../wallet/wallet.ts'
import type { AllowanceView, Flow, Latency, SourceView } from './api.ts'
import type { NostrFront } from './nostr-front.ts'
import type { Incoming, Loaded } from './records.ts'
import { endOf, type Running } from './running.ts'
import type { SourceState } from './source-watch.ts'

const MAX_FLOWS = 50

export function sourceView(id: string, name: string, state: SourceState): SourceView {
  const { info, connected, trouble, left, latencyMs } = state
  return {
    ...{ id, name, connected },
    ...(trouble !== undefined && { trouble }),
    ...(info && { money: info.money }),
    ...(left !== undefined && { left }),
    ...(latencyMs !== undefined && { latencyMs }),
    makesConnections: info?.features.has('create-connection') ?? false,
    managesConnections: info?.features.has('manage-connections') ?? false,
  }
}

export function runningView(
  running: Running,
  depth: number,
  front: NostrFront | undefined,
  trouble: string | undefined,
): AllowanceView {
  const { meta, nowMs } = running
  const state = rolled(running.state, nowMs)
  const { terms } = state
  const renewsAtMs = renewsAt(terms.renewal, nowMs)
  const available = running.available()
  const source = running.source?.state.get()
  const words =
    trouble ??
    running.trouble ??
    (front?.connected !== true
      ? 'Connecting to the relay where its holder asks.'
      : sourceTrouble(running.source !== undefined, source))
  return {
    ...{
      id: meta.id,
      client: meta.client,
      service: meta.service,
      source: meta.source,
      home: meta.home,
      depth,
    },
    ...{ name: terms.name, limit: terms.limit, renewal: terms.renewal, may: terms.may, extra: state.extra },
    state: standingOf(state, nowMs),
    ...(renewsAtMs !== undefined && { renewsAtMs }),
    ...(terms.expiresAtMs !== undefined && { expiresAtMs: terms.expiresAtMs }),
    spent: state.spent,
    reserved: reservedOf(state),
    unknown: unknownOf(state),
    left: leftOf(state, nowMs),
    ...(available !== undefined && { available }),
    totalSpent: state.totalSpent,
    totalReceived: running.incoming.received,
    flows: flowsOf(running),
    latency: latencyOf(source?.latencyMs, front?.holderMs),
    ...(front?.heardAtMs !== undefined && { heardAtMs: front.heardAtMs }),
    ...(words !== undefined && { trouble: words }),
  }
}

function sourceTrouble(open: boolean, source: SourceState | undefined): string | undefined {
  if (!open) return 'The wallet that it spends from is not open here. Open it, and this goes on.'
  return source?.connected === false
    ? (source.trouble ?? 'Its wallet cannot be reached; trying again.')
    : undefined
}

/** `told`: what the wallet says; until it has, the terms as they were agreed. */
export function walletRunView(
  { meta, state }: Loaded,
  told: ConnectionState | undefined,
  depth: number,
  source: SourceState | undefined,
  nowMs: number,
): AllowanceView {
  const { terms } = state
  const limit = told?.limit ?? terms.limit
  const locked = told?.locked ?? ZERO
  const spent = msat(Math.max(0, (told?.used ?? ZERO) - locked))
  const expiresAtMs = told ? told.expiresAtMs : terms.expiresAtMs
  const trouble = sourceTrouble(source !== undefined, source)
  return {
    ...{
      id: meta.id,
      client: meta.client,
      service: meta.service,
      source: meta.source,
      home: meta.home,
      depth,
    },
    name: told?.name ?? terms.name,
    state: told && !terms.revoked ? told.state : standingOf(state, nowMs),
    ...{ limit, extra: ZERO, renewal: told?.renewal ?? terms.renewal, may: terms.may },
    ...(told?.renewsAtMs !== undefined && { renewsAtMs: told.renewsAtMs }),
    ...(expiresAtMs !== undefined && { expiresAtMs }),
    ...{ spent, reserved: locked, unknown: ZERO, left: msat(Math.max(0, limit - spent - locked)) },
    ...(told && { available: told.available }),
    ...{ totalSpent: spent, totalReceived: ZERO, flows: [] },
    latency: latencyOf(source?.latencyMs, undefined),
    ...(trouble !== undefined && { trouble }),
  }
}

const latencyOf = (sourceMs: number | undefined, holderMs: number | undefined): Latency => ({
  ...(sourceMs !== undefined && { sourceMs }),
  ...(holderMs !== undefined && { holderMs }),
})

function flowsOf({ state, past, incoming }: Running): Flow[] {
  const open = [...state.open.values()].toReversed().map(outgoing)
  // What is tried again is on its way, whatever became of it before.
  const ended = [...past.values()].filter(({ paymentHash }) => !state.open.has(paymentHash))
  const done = [
    ...ended.slice(-MAX_FLOWS).map(outgoing),
    ...incoming.all
      .flatMap((invoice) => (invoice.state === 'settled' ? [settledIn(invoice)] : []))
      .slice(-MAX_FLOWS),
  ].toSorted((a, b) => (b.endedAtMs ?? 0) - (a.endedAtMs ?? 0))
  const locked = incoming.all.filter((invoice) => invoice.state === 'accepted').map(lockedIn)
  return [...open, ...locked, ...done].slice(0, MAX_FLOWS)
}

function outgoing(payment: Payment): Flow {
  const { fate, paymentHash, amount, maxFee, askedAtMs, description } = payment
  const common = {
    ...{ paymentHash, direction: 'out' as const, amount, startedAtMs: askedAtMs },
    ...(description !== '' && { description }),
  }
  switch (fate.tag) {
    case 'asked':
      return { ...common, state: 'in-flight', fees: maxFee }
    case 'unknown':
      return { ...common, state: 'unknown', fees: maxFee, why: fate.why, deadAtMs: payment.deadAtMs }
    case 'paid':
      return { ...common, state: 'settled', fees: fate.fees, endedAtMs: endOf(payment) }
    case 'failed':
      return { ...common, state: 'failed', fees: ZERO, endedAtMs: endOf(payment), why: fate.message }
  }
}

const lockedIn = (invoice: Incoming): Flow => ({
  ...{
    paymentHash: invoice.paymentHash,
    direction: 'in',
    state: 'in-flight',
    amount: invoice.amount,
    fees: ZERO,
  },
  startedAtMs: invoice.createdAtMs,
  ...(invoice.description !== '' && { description: invoice.description }),
})

const settledIn = (invoice: Incoming): Flow => ({
  ...lockedIn(invoice),
  state: 'settled',
  endedAtMs: invoice.settledAtMs ?? invoice.createdAtMs,
})
