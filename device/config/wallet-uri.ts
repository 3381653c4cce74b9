/** Nostr Wallet Connect URIs (NIP-47 "connection URI"): what is wrong with one, without repeating it. */

/** Composes the URI of a connection whose client secret the device made itself. */
export function walletUri(parts: {
  walletPubkey: string
  relays: readonly string[]
  secret: string
}): string {
  const relays = parts.relays.map((relay) => `relay=${encodeURIComponent(relay)}`)
  return `nostr+walletconnect://${parts.walletPubkey}?${[...relays, `secret=${parts.secret}`].join('&')}`
}

/** `undefined` when it can be used. The words never contain the string itself: it is a secret. */
export function walletUriTrouble(text: string): string | undefined {
  const again = 'copy the whole connection string from the wallet again'
  if (/^nostr\+?walletconnect:/i.test(text) === false) {
    return `is not a wallet connection: it must begin with nostr+walletconnect://; ${again}`
  }
  const rest = text.replace(/^nostr\+?walletconnect:(\/\/)?/i, '')
  const at = rest.indexOf('?')
  const key = at < 0 ? rest : rest.slice(0, at)
  if (!/^[0-9a-fA-F]{64}$/.test(key)) {
    return `has a typo: the wallet’s key must be 64 characters 0-9 and a-f, here it has ${key.length}; ${again}`
  }
  const query = new URLSearchParams(at < 0 ? '' : rest.slice(at + 1))
  const relays = query.getAll('relay')
  if (relays.length === 0) return `names no relay (relay=…); ${again}`
  if (relays.some((relay) => !/^wss?:\/\//.test(relay) || !URL.canParse(relay))) {
    return `names a relay that is not a ws:// or wss:// address; ${again}`
  }
  const secret = query.get('secret') ?? ''
  if (!/^[0-9a-fA-F]{64}$/.test(secret)) {
    return `has a typo: its secret must be 64 characters 0-9 and a-f, here it has ${secret.length}; ${again}`
  }
  return undefined
}
