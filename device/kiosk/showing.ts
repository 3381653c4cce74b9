/** What the device's own screen shows: the same view as `status` and the vendor's, less what nobody reads from afar. */
import { deviceCode } from '../../web/core/rollout/join.ts'
import type { KioskView } from '../../web/core/rollout/kiosk.ts'
import type { Progress } from '../../web/core/rollout/messages.ts'
import type { Msat } from '../../web/core/money/msat.ts'
import { progressOf, shownJob, snapshotOf, type ViewDeps } from '../run/view.ts'

export async function showing(deps: ViewDeps): Promise<KioskView> {
  const { config } = deps
  const { key } = config.identity
  const { name, state, reason, installed, release, download, relays } = snapshotOf(deps)
  const [relay = ''] = config.relays
  const balanceMsat = deps.funds.balance()
  const progress = shownJob(deps.record()) === undefined ? undefined : await progressOf(deps)
  const told = progress?.release
  return {
    v: 1,
    name,
    hardware: config.hardware,
    code: deviceCode(key),
    page: `${relay}/vendor/device/${key}`,
    accepted: deps.accepted(),
    state,
    ...(reason === undefined ? {} : { reason: reason.slice(0, 500) }),
    ...(balanceMsat === undefined ? {} : { wallet: { money: deps.funds.money(), balanceMsat } }),
    ...needOf(progress),
    installed,
    ...(release === undefined || told === undefined
      ? {}
      : {
          release: {
            product: release.product,
            version: release.version,
            pieces: told.pieces,
            have: told.have,
            paidMsat: (told.paidMsat + told.feesMsat) as Msat,
            lockedMsat: download?.locked ?? (0 as Msat),
            rateBps: Math.round(download?.rateBps ?? 0),
            sellers: download?.sellers.filter(({ rateBps }) => rateBps > 0).length ?? 0,
          },
        }),
    relays: { connected: relays.filter(({ connected }) => connected).length, all: relays.length },
  }
}

function needOf(progress: Pick<Progress, 'needMsat' | 'fundInvoice'> | undefined): Pick<KioskView, 'need'> {
  if (progress?.needMsat === undefined) return {}
  const { needMsat: msat, fundInvoice: invoice } = progress
  return { need: { msat, ...(invoice === undefined ? {} : { invoice }) } }
}
