/** What the invoice of a window says, in the histories of both wallets. */
import { keyName, type PartyKey } from '../../core/bytes.ts'

const MAX_NAME = 150

/** How much of what, and who to whom: keys by the short names that the pages show. */
export const saleWords = (
  pieces: number,
  fileName: string,
  { seller, buyer }: Readonly<{ seller: PartyKey; buyer: PartyKey }>,
): string =>
  `${pieces} ${pieces === 1 ? 'piece' : 'pieces'} of ${fileName.slice(0, MAX_NAME)}, ${keyName(seller, 'seed')} to ${keyName(buyer, 'device')}`
