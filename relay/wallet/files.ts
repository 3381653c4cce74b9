/** The ledgers in a relay's data directory: play sats and a node's never stand in one. */
export const PLAY_LEDGER = 'wallet.sqlite'
export const NODE_LEDGER = 'wallet-node.sqlite'
