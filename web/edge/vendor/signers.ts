/** Who signs: changes of the root, products handed over to other keys, and signing what others propose. */
import type { VendorId } from '../../core/bytes.ts'
import { withNostr } from '../../core/release/announcers.ts'
import { checkDelegate, withDelegate, withoutDelegate } from '../../core/release/delegate.ts'
import type { Delegations } from '../../core/release/tuf.ts'
import type { Identity } from '../swarm/api.ts'
import { VendorError, type Outcome, type Vendor } from './api.ts'
import { approve, changeRoot, look } from './approvals.ts'
import type { Engine } from './engine.ts'
import { announce, type TargetsDraft } from './signing.ts'

const PUBLISH_TIMEOUT_MS = 20_000

type Signers = Pick<Vendor, 'changeRoot' | 'changeNostr' | 'delegate' | 'undelegate' | 'look' | 'approve'>

/** `own`: this engine's vendor, once it is admitted. */
export function createSigners(
  { deps, standing, inTurn, need, change, afterOthers }: Engine,
  own: () => VendorId | undefined,
): Signers {
  /** What is in force now, and what devices are told. */
  async function settle(outcome: Outcome): Promise<Outcome> {
    // What is on its way to others must not be lost, whatever the relay answers meanwhile.
    if (outcome.tag === 'waiting')
      await need()
        .approvals.add(outcome.id)
        .catch(() => undefined)
    else await afterOthers()
    return outcome
  }

  async function inTargets(edit: (draft: TargetsDraft) => TargetsDraft): Promise<Outcome> {
    try {
      const { verified } = await change(edit)
      standing.adopt(verified)
      return await settle({ tag: 'published' })
    } catch (error) {
      if (error instanceof VendorError && error.proposal) return { tag: 'waiting', id: error.proposal }
      throw error
    }
  }
  const delegations = (
    edit: (before: Delegations | undefined) => Delegations | undefined,
  ): Promise<Outcome> =>
    inTurn(() => inTargets((draft) => ({ ...draft, delegations: edit(draft.delegations) })))

  /** Devices look when the key that they know says so; from then on they know the new one, which has spoken too. */
  async function announceAs(identities: readonly Identity[]): Promise<void> {
    const verified = standing.verified()
    const [release] = verified?.releases ?? []
    if (!verified || !release) return
    const { vendor, targetsVersion } = verified
    for (const nostr of identities) {
      const options = { vendor, release, status: 'live', targetsVersion, after: 0 } as const
      const event = announce({ ...deps, keys: { ...deps.keys, nostr } }, options)
      await deps.pool.publish(event, { timeoutMs: PUBLISH_TIMEOUT_MS }).catch((error: unknown) => {
        deps.log?.('a new Nostr key not announced yet', { text: String(error) })
      })
    }
  }

  return {
    changeRoot: (edit) =>
      inTurn(async () => settle(await changeRoot(deps, need().vendor, standing.floorVersion(), edit))),

    changeNostr: () =>
      inTurn(async () => {
        const { nostr, nextNostr } = deps.keys
        if (!nextNostr) throw new VendorError('bad-form', 'There is no new Nostr key here: make one first.')
        const { roster } = need()
        // First the list of devices: a crash in between leaves the old key in force, and this may be done again.
        await roster.handOver(nextNostr)
        const outcome = await inTargets((draft) => ({
          ...draft,
          block: withNostr(draft.block, nextNostr.key),
        }))
        if (outcome.tag === 'published') await announceAs([nostr, nextNostr])
        return outcome
      }),

    async delegate(delegate) {
      const wrong = checkDelegate(delegate)
      if (wrong !== undefined) throw new VendorError('bad-form', wrong)
      return delegations((before) => withDelegate(before, delegate))
    },

    undelegate: (product) => delegations((before) => withoutDelegate(before, product)),

    look: (vendor, id) => look(deps, vendor, id),

    approve: (vendor, id) =>
      inTurn(async () => {
        const outcome = await approve(deps, vendor, id)
        if (vendor !== own()) return outcome
        const { approvals } = need()
        if (outcome.tag === 'waiting') await approvals.add(id).catch(() => undefined)
        else await Promise.all([approvals.refresh().catch(() => undefined), afterOthers()])
        return outcome
      }),
  }
}
