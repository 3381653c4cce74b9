/** Whether this browser runs allowances: then they run from the start, whatever page is shown. */
const KEY = 'satpatch.allowances'

export function rememberRunning(runs: boolean): void {
  try {
    localStorage.setItem(KEY, runs ? 'on' : 'off')
  } catch {
    // they begin with the Wallet page then
  }
}

export async function runAllowances(): Promise<void> {
  try {
    if (localStorage.getItem(KEY) !== 'on') return
  } catch {
    return
  }
  const [{ wallets }, { allowances }] = await Promise.all([
    import('./wallets.svelte.ts'),
    import('./allowances.svelte.ts'),
  ])
  await wallets.begin()
  await allowances.begin()
}
