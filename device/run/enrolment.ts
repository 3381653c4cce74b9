/** The loop that joins a fleet: asks, takes up the acceptance, and the allowance that may come with it or later. */
import type { PartyKey } from '../../web/core/bytes.ts'
import type { JoinAccept } from '../../web/core/rollout/messages.ts'
import type { Pool } from '../../web/edge/nostr/pool.ts'
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import type { Funds } from './funds.ts'
import type { JoinState } from './join-state.ts'
import { awaitAcceptance, awaitAllowance, keepAcceptance } from './joining.ts'
import type { Ports } from './ports.ts'
import type { RecordKeeper } from './record.ts'
import { createWake } from './wake.ts'

export type EnrolmentDeps = Readonly<{
  config: DeviceConfig
  ports: Ports
  pool: Pool
  keeper: RecordKeeper
  /** Absent: the device belongs to its fleet without asking. */
  joining: JoinState | undefined
  vendorKey: () => PartyKey | undefined
  funds: Pick<Funds, 'wallet' | 'open'>
  onChange: () => void
  log: Logger
  signal: AbortSignal
}>

export interface Enrolment {
  accepted(): boolean
  /** Why an acceptance that came is not in force yet. */
  trouble(): string | undefined
  /** Until the vendor has accepted and given an allowance, or the device stops. */
  run(): Promise<void>
}

/** Bound of the wait between tries to take up an acceptance: `retryMs`, doubled so often. */
const MAX_DOUBLINGS = 6

export function createEnrolment(deps: EnrolmentDeps): Enrolment {
  const { config, ports, pool, keeper, joining, funds, log, signal } = deps
  let accepted = ports.offline !== undefined || joining === undefined || joining.acceptedAt !== null
  let trouble: string | undefined

  /** Shown at once; in the record for `device status`, as soon as that can be written. */
  function show(text: string | undefined): void {
    trouble = text?.slice(0, 500)
    deps.onChange()
    keeper
      .update(({ joinTrouble: _before, ...record }) => ({
        ...record,
        ...(trouble === undefined ? {} : { joinTrouble: trouble }),
      }))
      .catch((error: unknown) => log.debug({ err: error }, 'the device stops before this is written'))
  }

  return {
    accepted: () => accepted,
    trouble: () => trouble,
    async run() {
      if (joining === undefined || ports.offline !== undefined) return
      const retry = createWake(signal)
      const ask = { config, state: joining, vendorKey: deps.vendorKey, pool, nowMs: ports.nowMs, signal }
      const onTrouble = (reason: string): void => log.debug({ reason }, 'join request not sent yet')
      let accept: JoinAccept | undefined
      // Accepted without an allowance it goes on listening: one may come at any time.
      for (let failures = 0; !accepted || funds.wallet() === undefined; failures++) {
        try {
          accept ??= await (accepted ? awaitAllowance(ask) : awaitAcceptance({ ...ask, onTrouble }))
          const connection = await keepAcceptance(config, joining, accept, ports.nowMs())
          if (connection !== undefined && funds.wallet() === undefined) await funds.open(connection)
          log.info(accepted ? 'the vendor has given an allowance' : 'accepted by the vendor')
          accepted = true
          accept = undefined
          failures = 0
          show(undefined)
        } catch (error) {
          if (signal.aborted) return
          log.error({ err: error }, 'the acceptance could not be taken up and is tried again')
          const why = error instanceof Error ? error.message : String(error)
          show(`accepted by the vendor, but that could not be taken up: ${why} It is tried again`)
          await retry.sleep(ports.retryMs * 2 ** Math.min(failures, MAX_DOUBLINGS))
        }
      }
    },
  }
}
