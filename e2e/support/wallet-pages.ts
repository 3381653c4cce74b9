/** What people do on the Wallet page, in their words. */
import type { Page } from 'playwright'

/** A play-money wallet of the relay, as the first one of this browser. */
export async function openPlayWallet(page: Page, base: string): Promise<void> {
  await page.goto(`${base}/wallet`)
  await page.getByRole('button', { name: 'Open a play-money wallet' }).click()
  await page.getByTestId('balance').waitFor()
}

/** Adds a wallet by its connection string. */
export async function connectWallet(page: Page, base: string, connection: string): Promise<void> {
  await page.goto(`${base}/wallet`)
  await page.getByRole('button', { name: /^(Connect a wallet|Add)$/ }).click()
  await page.getByLabel('Wallet connection').fill(connection)
  await page.getByRole('button', { name: 'Connect', exact: true }).click()
  await page.getByTestId('balance').waitFor()
}

/** The same for money that is not play: its secret goes under a passphrase. */
export async function connectUnderPassphrase(
  page: Page,
  base: string,
  connection: string,
  passphrase: string,
): Promise<void> {
  await page.goto(`${base}/wallet`)
  await page.getByRole('button', { name: 'Connect a wallet' }).click()
  await page.getByLabel('Wallet connection').fill(connection)
  await page.getByRole('button', { name: 'Connect', exact: true }).click()
  await page.getByLabel('Passphrase').fill(passphrase)
  await page.getByRole('button', { name: 'Lock with this passphrase' }).click()
  await page.getByTestId('balance').waitFor()
}

/** What a Copy button puts on the clipboard. */
export async function copied(page: Page, button: string): Promise<string> {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await page.getByRole('button', { name: button }).click()
  await page.getByRole('button', { name: 'Copied' }).waitFor()
  return page.evaluate(() => navigator.clipboard.readText())
}

/** Cuts an allowance that lives in this browser; gives its connection string. */
export async function cutAllowance(page: Page, name: string, limitSats: number): Promise<string> {
  await page.getByRole('button', { name: 'New allowance' }).click()
  await page.getByLabel('Name').fill(name)
  await page.getByLabel(/^Limit in/).fill(String(limitSats))
  await page.getByRole('radio', { name: /in this browser/ }).check()
  await page.getByRole('button', { name: 'Make it' }).click()
  const connection = await page.getByTestId('connection').innerText()
  await page.getByRole('button', { name: 'Done' }).click()
  return connection.replaceAll(/\s/g, '')
}

/** Fills in the form of Send and asks to pay. */
export async function send(page: Page, bolt11: string): Promise<void> {
  await page.getByRole('button', { name: 'Send' }).click()
  await page.getByLabel('Invoice or Lightning address').fill(bolt11)
  await page.getByRole('button', { name: 'Pay', exact: true }).click()
}

/** Waits until the page shows this balance: `1,000.000`. */
export const balanceIs = (page: Page, shown: string): Promise<void> =>
  page
    .getByTestId('balance')
    .filter({ hasText: new RegExp(`^${shown.replaceAll('.', '\\.')}`) })
    .waitFor()
