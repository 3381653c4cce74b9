/** Opens the page for the device's own screen, where one is wanted. Without it the device runs on: it only shows. */
import type { DeviceConfig } from '../config/config.ts'
import type { Logger } from '../log.ts'
import { startKiosk, type Kiosk, type KioskOptions } from './server.ts'

export async function openKiosk(
  { kiosk: address }: Pick<DeviceConfig, 'kiosk'>,
  device: KioskOptions['device'],
  log: Logger,
): Promise<Kiosk | undefined> {
  if (address === undefined) return undefined
  try {
    const kiosk = await startKiosk({ address, device, log })
    log.info(`the device's own page is at ${kiosk.url}`)
    return kiosk
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    log.error(`there is no page at ${address.host}:${address.port}: ${why}. The device runs without it.`)
    return undefined
  }
}
