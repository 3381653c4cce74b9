/** What the service's tests share: services that are audited and stopped after each test, and clients of them. */
import { rmSync } from 'node:fs'
import { afterEach, expect } from 'vitest'
import { startService, type TestService } from './harness.ts'
import { rawClient, type RawClient } from './raw-client.ts'

const running: TestService[] = []
/** Removed after the test. */
export const directories: string[] = []
afterEach(async () => {
  for (const service of running.splice(0)) {
    expect(service.wallet.audit().problems).toEqual([])
    await service.stop()
  }
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true })
})
export const begin = async (options: Parameters<typeof startService>[0] = {}): Promise<TestService> => {
  const service = await startService(options)
  running.push(service)
  return service
}
export const open = async (service: TestService, grantMsat = 10_000): Promise<RawClient> =>
  rawClient(service, (await service.wallet.openAccount({ grantMsat })).connection)
export const invoiceOf = (client: RawClient, amount: number): string =>
  String(client.ask('make_invoice', { amount }).result?.['invoice'])
export const balanceOf = (client: RawClient): unknown => client.ask('get_balance').result?.['balance']
