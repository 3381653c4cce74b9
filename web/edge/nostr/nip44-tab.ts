/** NIP-44 in tabs (`#nip44`): nostr-tools', in JavaScript. */
import { nip44 } from 'nostr-tools'

export const { encrypt, decrypt, getConversationKey } = nip44
