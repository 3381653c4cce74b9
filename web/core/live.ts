/**
 * A value that changes and can be watched. `subscribe` calls `run` at once and then on each change
 * (Svelte's store contract), so pages and terminals read the same objects.
 */
export interface Live<T> {
  get(): T
  subscribe(run: (value: T) => void): () => void
}

export interface LiveCell<T> extends Live<T> {
  set(value: T): void
}

export function liveCell<T>(initial: T): LiveCell<T> {
  let value = initial
  const watchers = new Set<(value: T) => void>()
  return {
    get: () => value,
    set(next) {
      value = next
      for (const run of [...watchers]) run(value)
    },
    subscribe(run) {
      watchers.add(run)
      run(value)
      return () => watchers.delete(run)
    },
  }
}
