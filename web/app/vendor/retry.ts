/** Trying again what a slow or busy relay refused. */

/**
 * Tries until it works, waiting longer each time and then the last wait again and again. `onFailure` hears each
 * failure.
 */
export async function untilItWorks<T>(
  attempt: () => Promise<T>,
  waitsMs: readonly [number, ...number[]],
  onFailure: (error: unknown) => void,
): Promise<T> {
  for (let failures = 0; ; failures++) {
    try {
      return await attempt()
    } catch (error) {
      onFailure(error)
      const wait = waitsMs[Math.min(failures, waitsMs.length - 1)]
      await new Promise((resolve) => setTimeout(resolve, wait))
    }
  }
}
