/** Opens a wallet connection for the volunteer. */
import { connectNwc } from '../../edge/wallet/nwc.ts'
import type { Wallet } from '../../edge/wallet/wallet.ts'

/** @throws when the text is no wallet connection; the message says which part is wrong. */
export const openWallet = (connection: string): Promise<Wallet> => connectNwc(connection.trim())
