/** Links that open a wallet's own page to grant a connection, as Alby Hub and others understand them. */
import { NWCClient } from '@getalby/sdk/nwc'
import type { Msat } from '../../core/money/msat.ts'
import type { PartyKey } from '../../core/bytes.ts'

export type AuthorizationRequest = Readonly<{
  /** The wallet's page for new connections. Example: `https://my.albyhub.com/apps/new`. */
  page: string
  /** The client key that is to be connected; its secret stays where it was made. */
  client: PartyKey
  name: string
  limit?: Msat
  renewal?: 'never' | 'daily' | 'weekly' | 'monthly' | 'yearly'
  expiresAtMs?: number
  isolated?: boolean
  may: ReadonlySet<'pay' | 'receive'>
}>

/** @throws TypeError when `page` is no address */
export function authorizationUrl(request: AuthorizationRequest): string {
  const { page, client, name, limit, renewal, expiresAtMs, isolated, may } = request
  const paying = ['pay_invoice', 'get_budget'] as const
  const receiving = [
    'make_invoice',
    'make_hold_invoice',
    'settle_hold_invoice',
    'cancel_hold_invoice',
  ] as const
  const url = NWCClient.getAuthorizationUrl(
    page,
    {
      name,
      requestMethods: [
        ...(['get_info', 'get_balance', 'lookup_invoice', 'list_transactions'] as const),
        ...(may.has('pay') ? paying : []),
        ...(may.has('receive') ? receiving : []),
      ],
      notificationTypes: ['payment_received', 'payment_sent', 'hold_invoice_accepted'],
      ...(limit !== undefined && { maxAmount: limit }),
      ...(renewal !== undefined && { budgetRenewal: renewal }),
      ...(expiresAtMs !== undefined && { expiresAt: new Date(expiresAtMs) }),
      ...(isolated !== undefined && { isolated }),
    },
    client,
  )
  return url.toString()
}
