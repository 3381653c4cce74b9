/** The time, once a second, for figures that count: shared by all pages, and still while the tab is hidden. */
import { createSubscriber } from 'svelte/reactivity'

const subscribe = createSubscriber((update) => {
  const timer = setInterval(() => {
    if (!document.hidden) update()
  }, 1000)
  document.addEventListener('visibilitychange', update)
  return () => {
    clearInterval(timer)
    document.removeEventListener('visibilitychange', update)
  }
})

export const now = {
  get ms(): number {
    subscribe()
    return Date.now()
  },
}
