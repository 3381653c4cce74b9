/** What a pasted text is, what a connection holds and what a wallet can do: in plain words, with what follows. */
import { keyName } from '../ui/format.ts'
import { unitOf, type Money } from '../../core/money/msat.ts'
import type { WalletConnection } from '../../core/wallet/connection.ts'
import type { Pasted } from '../../core/wallet/pasted.ts'
import type { WalletInfo } from '../../edge/wallet/wallet.ts'

/** Where it was pasted. `store`: the code of a shop was asked for. */
export type Place = 'connect' | 'send' | 'store'

const WANTED: Readonly<Record<Place, string>> = {
  connect: 'Copy the connection from your wallet; it starts with nostr+walletconnect://.',
  send: 'Paste an invoice (it starts with ln), a Lightning address or an LNURL for paying.',
  store: 'Ask the seller for the code of the shop; it starts with spstore1.',
}

/** Why a text does not belong here, and where it does; `undefined` when it does belong. */
export function misplaced(pasted: Pasted, place: Place): string | undefined {
  const { tag } = pasted
  switch (tag) {
    case 'nothing':
      return undefined
    case 'connection':
      if (place === 'connect') return undefined
      return place === 'send'
        ? 'This is a wallet connection: it opens a wallet, so keep it secret. Nothing can be paid to it; ask its owner for an invoice. To use that wallet yourself, connect it.'
        : 'This is a wallet connection: it opens a wallet, so keep it secret. Connect it as a wallet; here goes the code of a shop.'
    case 'damaged-connection':
      return place === 'connect' ? pasted.message : `This is a wallet connection. ${WANTED[place]}`
    case 'invoice':
      if (place === 'send') return undefined
      return `This is an invoice: it asks for a payment and opens nothing. To pay it, use Send. ${WANTED[place]}`
    case 'lightning-address':
      if (place === 'send') return undefined
      return `This is a Lightning address: it can only be paid. To pay to it, use Send. ${WANTED[place]}`
    case 'lnurl':
      if (place === 'send') return undefined
      return `This is an LNURL: it opens no wallet. To pay to it, use Send. ${WANTED[place]}`
    case 'lnurl-other':
      return `This is an LNURL that is not for paying over https. ${WANTED[place]}`
    case 'bolt12':
      return `This is a BOLT 12 offer, which wallets cannot be asked to pay over Nostr Wallet Connect yet. ${WANTED[place]}`
    case 'ecash':
      return `This is ecash: it is money itself, so whoever has the text has the money. Redeem it in an ecash wallet. ${WANTED[place]}`
    case 'lndhub':
      return `This is an LNDhub login, an older way to open a wallet. Make a Nostr Wallet Connect string in that wallet. ${WANTED[place]}`
    case 'node':
      return `This is the address of a Lightning node, or the login to one. Put a Nostr Wallet Connect service on the node. ${WANTED[place]}`
    case 'relay':
      return `This is the address of a relay alone: it opens no wallet. ${WANTED[place]}`
    case 'recovery-words':
      return 'These look like the recovery words of a wallet. Nobody here needs them: paste them nowhere, and clear your clipboard.'
    case 'secret-key':
      return 'This is a secret Nostr key. Nobody here needs it: paste it nowhere, and clear your clipboard.'
    case 'public-key':
      return `This is a Nostr name or link, which holds no money. ${WANTED[place]}`
    case 'join-code':
      return `This is a join code: it enrols a device (satpatch device init --join). ${WANTED[place]}`
    case 'store-code':
      return place === 'store'
        ? undefined
        : `This is the code of a shop: open it on the Shop page. ${WANTED[place]}`
    case 'key-backup':
      return `This is a backup of vendor keys: restore it on the Keys page. ${WANTED[place]}`
    case 'wallet-auth':
      return 'This asks a wallet for a connection. Make an allowance instead, and give its string to whoever asks.'
    case 'signer':
      return `This is a remote signer (NIP-46), not a wallet. ${WANTED[place]}`
    case 'bitcoin-address':
      return `This is a Bitcoin address; here money moves over Lightning. ${WANTED[place]}`
    case 'web-page':
      return `This is the address of a page. ${WANTED[place]}`
    case 'unknown':
      return `This is nothing that is known here. ${WANTED[place]}`
    default:
      return tag satisfies never
  }
}

/** Where the page itself came from. */
export type Here = Readonly<{ secure: boolean; local: boolean }>

/** Why nobody will be reached over the relays of a connection from here; said before anything is tried. */
export function wrongRelay({ relays }: WalletConnection, here: Here): string | undefined {
  const urls = relays.map((relay) => new URL(relay))
  const away = here.local ? [] : urls.filter(({ hostname }) => isLocal(hostname))
  if (away.length === urls.length)
    return `Its relay is on the computer where it was made (${urls[0]?.host ?? ''}), and cannot be reached from here. Ask for a connection over a public relay.`
  const open = urls.filter(({ protocol, hostname }) => protocol === 'ws:' && !isLocal(hostname))
  if (here.secure && open.length === urls.length)
    return `Its relay is reached without encryption (${urls[0]?.protocol ?? ''}//), which browsers refuse on this page. Ask for a connection over wss://.`
  return undefined
}
export const isLocal = (hostname: string): boolean =>
  hostname === 'localhost' || hostname.endsWith('.localhost') || /^(127\.|\[::1\])/.test(hostname)

/** What is in a connection string, in words; the secret is named and never shown. */
export function connectionInWords(connection: WalletConnection, client: string): readonly [string, string][] {
  const hosts = connection.relays.map((relay) => new URL(relay).host)
  return [
    ['Opens', `the wallet of service ${keyName(connection.wallet, 'wallet')}`],
    ['Reached over', hosts.join(', ')],
    ['Known there as', keyName(client, 'client')],
    ['Secret', 'yes: whoever has this string can use it'],
    ...(connection.lud16 === undefined ? [] : [['Can be paid at', connection.lud16] as [string, string]]),
  ]
}

/** What a person may expect of this money. */
export function moneyInWords(money: Money): string {
  if (money.startsWith('sandbox:'))
    return "These are play sats from the relay's sandbox. They work like real ones and buy nothing outside it."
  return money === 'bitcoin'
    ? 'These are real sats, over Lightning: what is paid is gone, and what comes in can be spent anywhere.'
    : 'These are test sats: they move over Lightning as real ones do, and are worth nothing.'
}

export type Ability = Readonly<{ yes: boolean; what: string; so: string }>

/** What a wallet can do, and what follows for this person. */
export function abilities({ features, money }: WalletInfo): readonly Ability[] {
  const has = (feature: Parameters<typeof features.has>[0]): boolean => features.has(feature)
  const atomic = has('preimage-invoices') || has('hold-invoices')
  const holding = (): Ability =>
    atomic
      ? say(
          true,
          has('hold-invoices') ? 'Holds invoices' : 'Takes your own secret for an invoice',
          'You can sell in atomic mode: the payment itself hands over the key.',
        )
      : say(false, 'Holds no invoices', 'You can sell on credit only: a buyer pays after it was served.')
  const say = (yes: boolean, what: string, so: string): Ability => ({ yes, what, so })
  return [
    has('pay')
      ? say(true, 'Pays', 'You can buy, and cut allowances from it.')
      : say(false, 'Does not pay', 'It can only be paid.'),
    has('receive')
      ? say(true, 'Receives', 'You can seed and sell.')
      : say(false, 'Does not receive', 'To seed or sell, connect one that may receive.'),
    ...(has('receive') ? [holding()] : []),
    has('notifications')
      ? say(true, 'Tells of payments by itself', 'Numbers here change the moment money moves.')
      : say(false, 'Does not tell of payments', 'It is asked every 10 seconds instead.'),
    has('history')
      ? say(true, 'Lists its payments', 'You see them below, and can save them.')
      : say(false, 'Lists no payments', 'Look for them in the wallet itself.'),
    has('create-connection')
      ? say(
          true,
          'Makes connections itself',
          has('manage-connections')
            ? 'Allowances work while this page is closed, and their limits move from here.'
            : 'Allowances can work while this page is closed.',
        )
      : say(false, 'Makes no connections from here', 'Allowances work while this page is open.'),
    has('budget')
      ? say(true, 'Tells its budget', 'You see what this connection may spend, and when that begins anew.')
      : say(false, 'Tells no budget', 'If it has one, you meet it when a payment is refused.'),
    money.startsWith('sandbox:')
      ? say(
          true,
          'Holds play sats',
          'Parts of a sat too, to a thousandth; they buy nothing outside this relay.',
        )
      : say(
          true,
          money === 'bitcoin' ? 'Holds real sats' : `Holds ${unitOf(money)}`,
          `${money === 'bitcoin' ? '' : 'They are worth nothing. '}Lightning carries whole ones: a price below one sat may be rounded up.`,
        ),
  ]
}
