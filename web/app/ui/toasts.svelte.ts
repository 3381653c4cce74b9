/** What another page finished. Never for errors: those stay where they happened. */
const VISIBLE_MS = 6000
const MOST = 4

export type Toast = { id: number; text: string; href?: string }

class Toasts {
  #next = 1
  #timers = new Map<number, ReturnType<typeof setTimeout>>()
  list = $state<Toast[]>([])

  say(text: string, href?: string): void {
    const id = this.#next++
    this.list = [...this.list, href === undefined ? { id, text } : { id, text, href }].slice(-MOST)
    this.release(id)
  }
  /** Stays while pointer or focus is on it. */
  hold(id: number): void {
    clearTimeout(this.#timers.get(id))
  }
  release(id: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.set(
      id,
      setTimeout(() => this.dismiss(id), VISIBLE_MS),
    )
  }
  dismiss(id: number): void {
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
    this.list = this.list.filter((toast) => toast.id !== id)
  }
}

export const toasts = new Toasts()
