/** The vendor's word on each device: who joins, under which name and group, who is out, who gets money. */
import { peekInvoice } from '../../core/money/bolt11.ts'
import { msat, type Msat } from '../../core/money/msat.ts'
import { checkDescription, describe, isEnrolled, revoke } from '../../core/rollout/roster.ts'
import { WalletError, type Wallet } from '../wallet/wallet.ts'
import { VendorError, type Vendor } from './api.ts'
import type { Engine } from './engine.ts'

type Members = Pick<
  Vendor,
  'makeJoinCode' | 'accept' | 'decline' | 'revoke' | 'describe' | 'giveAllowance' | 'fund'
>

export function createMembers({ deps, need }: Engine): Members {
  return {
    makeJoinCode: async () => need().joining.makeCode(),
    accept: async (id, grant) => need().joining.accept(id, grant),
    decline: async (id) => need().joining.decline(id),
    revoke: async (device) => need().roster.edit((before) => revoke(before, device, deps.nowMs())),

    async describe(device, { name, group }) {
      const said = { name: name.trim(), group: group.trim() }
      const wrong = checkDescription(said)
      if (wrong !== undefined) throw new VendorError('bad-form', wrong)
      await need().roster.edit((before) => describe(before, device, said, deps.nowMs()))
    },

    async giveAllowance(device, { fundMsat, wallet }) {
      const { fleet, roster, joining } = need()
      const members = roster.roster.get().devices
      const member = members.find((one) => one.key === device && one.revokedAt === undefined)
      if (!member)
        throw new VendorError(
          'refused',
          'This device is not enrolled: accept it before giving it an allowance.',
        )
      const place = fleet.progressOf(device)?.allowance
      if (!place) {
        const text =
          'This device takes no allowance: it pays from a wallet of its owner’s, or is not heard yet.'
        throw new VendorError('refused', text)
      }
      if (!place.given)
        return joining.give({ device, client: place.client, name: member.name }, fundMsat, wallet)
      await addTo(wallet, place.client, fundMsat)
      return { again: false, amount: fundMsat }
    },

    async fund(device, wallet) {
      const { fleet, roster } = need()
      const { fundInvoice: invoice, needMsat } = fleet.progressOf(device) ?? {}
      if (!isEnrolled(roster.roster.get(), device)) {
        throw new VendorError('refused', 'This device is not enrolled: accept it before sending it money.')
      }
      if (!invoice) throw new VendorError('refused', 'This device does not ask for money now.')
      const amount = peekInvoice(invoice)?.amount
      if (amount === undefined || needMsat === undefined || amount > mostFor(needMsat))
        throw new VendorError(
          'refused',
          'The invoice of this device is not over what it says it needs. Nothing was paid.',
        )
      return wallet.pay(invoice)
    },
  }
}

/** The page names what a device says it needs, and its invoice is paid: it may be one from when it needed more, no larger. */
const mostFor = (needMsat: Msat): number => 2 * needMsat + 1000

/** Raises what the wallet has given to one of its own connections. */
async function addTo(wallet: Wallet, client: string, amount: Msat): Promise<void> {
  try {
    const one = (await wallet.listConnections()).find((connection) => connection.client === client)
    if (one?.limit === undefined)
      throw new VendorError(
        'wallet',
        'Another wallet than the one here gave this allowance: add to it there.',
      )
    await wallet.updateConnection(client, { limit: msat(one.limit + amount) })
  } catch (cause) {
    if (!(cause instanceof WalletError)) throw cause
    const doubt = cause.code === 'unreachable' ? ' Look at the balance before you try again.' : ''
    throw new VendorError('wallet', `${cause.message}${doubt}`, { cause })
  }
}
