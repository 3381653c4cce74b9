/** Word among the tabs of this browser that the wallets it keeps have changed. */
const CHANNEL = 'satpatch-wallets'

/** Whoever follows in this tab hears it too. */
export function tellWalletsChanged(): void {
  if (typeof BroadcastChannel === 'undefined') return
  const channel = new BroadcastChannel(CHANNEL)
  channel.postMessage('changed')
  channel.close()
}

export function onWalletsChanged(run: () => void): void {
  if (typeof BroadcastChannel !== 'undefined') new BroadcastChannel(CHANNEL).addEventListener('message', run)
}
