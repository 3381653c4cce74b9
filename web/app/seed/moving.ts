/** What sliders show while they move, until what they say is in force. */

/** Without what was `sent` and is in force by now: what was moved again meanwhile stays. */
export const movedSince = <T extends object>(moving: T, sent: T): Partial<T> =>
  Object.fromEntries(
    Object.entries(moving).filter(([name, value]) => sent[name as keyof T] !== value),
  ) as Partial<T>
