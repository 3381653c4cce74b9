/** Browsers gather well by themselves. */
export const tuneIce = (): Promise<void> => Promise.resolve()
