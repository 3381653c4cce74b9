/** Tabs sign in JavaScript: the WebAssembly is 1.2 MB, more than all of a page, to save 3 ms a signature. */
export const loadSecp = (): Promise<void> => Promise.resolve()
