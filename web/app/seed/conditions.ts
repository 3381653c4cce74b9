/** What this browser tells of connection and battery, for a volunteer who wants seeding to pause. */
import { liveCell, type Live } from '../../core/live.ts'
import type { Conditions } from '../../edge/distributor/api.ts'

/** At or below it, and not charging, the battery counts as low. */
const LOW_BATTERY = 0.2

type Connection = EventTarget & { saveData?: boolean; type?: string }
type Battery = EventTarget & { level: number; charging: boolean }
type Telling = Navigator & { connection?: Connection; getBattery?: () => Promise<Battery> }

/** Which of the two this browser tells at all. */
export const told = (): { metered: boolean; battery: boolean } => {
  const { connection, getBattery } = navigator as Telling
  return { metered: connection !== undefined, battery: getBattery !== undefined }
}

export function watchConditions(): Live<Conditions> {
  const cell = liveCell<Conditions>({ metered: false, lowBattery: false })
  const { connection } = navigator as Telling
  const readConnection = () => {
    const metered = connection?.saveData === true || connection?.type === 'cellular'
    if (metered !== cell.get().metered) cell.set({ ...cell.get(), metered })
  }
  connection?.addEventListener('change', readConnection)
  readConnection()
  void (navigator as Telling)
    .getBattery?.()
    .then((battery) => {
      const readBattery = () => {
        const lowBattery = battery.level <= LOW_BATTERY && !battery.charging
        if (lowBattery !== cell.get().lowBattery) cell.set({ ...cell.get(), lowBattery })
      }
      battery.addEventListener('levelchange', readBattery)
      battery.addEventListener('chargingchange', readBattery)
      readBattery()
    })
    .catch(() => undefined) // refused by policy: it counts as full
  return cell
}
