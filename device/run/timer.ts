/** The longest that a timer waits: what is longer would end at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1
