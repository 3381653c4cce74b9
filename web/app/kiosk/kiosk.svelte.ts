/** What the device last said of itself. */
import * as v from 'valibot'
import { kioskSchema, type KioskView } from '../../core/rollout/kiosk.ts'

const eventSchema = v.pipe(v.string(), v.parseJson(), kioskSchema)

class Kiosk {
  #view = $state.raw<KioskView | undefined>()
  #heardMs = $state(0)
  #silent = $state(false)

  get view(): KioskView | undefined {
    return this.#view
  }
  /** Unix ms of the last word. */
  get heardMs(): number {
    return this.#heardMs
  }
  /** The device does not answer; what is shown is what it said last. */
  get silent(): boolean {
    return this.#silent
  }

  start(): void {
    const events = new EventSource('/events')
    events.onmessage = ({ data }) => {
      const parsed = v.safeParse(eventSchema, data)
      this.#silent = !parsed.success
      if (!parsed.success) return
      this.#view = parsed.output
      this.#heardMs = Date.now()
    }
    events.onerror = () => {
      this.#silent = true
      // A browser tries again by itself, but gives up where it was refused, as by a device with too many screens.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.start(), RETRY_MS)
    }
  }
}

const RETRY_MS = 3000

export const kiosk = new Kiosk()
