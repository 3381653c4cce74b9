/** Reads a `Live` of the engines as Svelte state: watched while something on screen uses it. */
import { createSubscriber } from 'svelte/reactivity'
import type { Live } from '../../core/live.ts'

export function watched<T>(live: Live<T>): { readonly value: T } {
  const subscribe = createSubscriber((update) => {
    let first = true
    return live.subscribe(() => {
      if (!first) update()
      first = false
    })
  })
  return {
    get value() {
      subscribe()
      return live.get()
    },
  }
}
