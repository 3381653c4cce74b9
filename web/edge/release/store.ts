/** Small named texts that outlive the process: trusted metadata, outstanding secrets. One port, several homes. */

/** Names are `[A-Za-z0-9._~%/-]+`. A put is atomic: after a power cut either the old or the new text is there. */
export interface TextStore {
  get(name: string): Promise<string | undefined>
  put(name: string, text: string): Promise<void>
  delete(name: string): Promise<void>
}

/** For tests, and for viewers that keep nothing. */
export function memoryStore(initial: Readonly<Record<string, string>> = {}): TextStore {
  const texts = new Map(Object.entries(initial))
  return {
    get: async (name) => texts.get(name),
    put: async (name, text) => void texts.set(name, text),
    delete: async (name) => void texts.delete(name),
  }
}

/** The same store under a prefix, so that several vendors do not meet. */
export const prefixed = (store: TextStore, prefix: string): TextStore => ({
  get: (name) => store.get(prefix + name),
  put: (name, text) => store.put(prefix + name, text),
  delete: (name) => store.delete(prefix + name),
})
