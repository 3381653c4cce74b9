/** Which parts a planned node plays. */
import type { PartyKey } from '../../web/core/bytes.ts'
import type { Role } from '../../web/core/exchange/message.ts'
import { msat } from '../../web/core/money/msat.ts'
import { BuyerPart } from './buyer.ts'
import { HostileBuyer, HostileConduct } from './hostile.ts'
import type { Node, Part } from './node.ts'
import type { PlannedNode } from './plan.ts'
import { SellerPart } from './seller.ts'
import { Conduct } from './seller-conduct.ts'

export function partsOf(
  node: Node,
  planned: PlannedNode,
  keys: (numbers: readonly number[]) => string[],
  roleOf: (key: string) => Role,
): Part[] {
  const parts: Part[] = []
  const { buys, sells, vice, takes, wallet } = planned
  if (buys !== undefined) {
    const policy = {
      ...buys,
      priceCap: msat(buys.priceCap),
      budget: msat(buys.budget),
      riskBudget: msat(buys.riskBudget),
      unprovenBudget: msat(buys.unprovenBudget),
      approved: keys(buys.approved) as PartyKey[],
    }
    parts.push(new BuyerPart(node, policy, planned.sabotage, planned.tickMs))
  }
  if (sells !== undefined) {
    const policy = { ...sells, price: msat(sells.price), approved: keys(sells.approved) as PartyKey[] }
    const conduct = vice === undefined ? new Conduct(node) : new HostileConduct(node, vice)
    parts.push(new SellerPart(node, { policy, conduct, hold: wallet.settling === 'hold', roleOf }))
  }
  if (takes !== undefined) parts.push(new HostileBuyer(node, takes))
  return parts
}
