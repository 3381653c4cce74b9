import { expect, test } from 'vitest'
import { Version, type Register } from './version.svelte.ts'

/** Tabs of one browser, and a worker that waits until one of them lets it in; then it controls them all. */
function browser(count: number) {
  const reloads = Array.from({ length: count }, () => 0)
  const heard: Parameters<Register>[0][] = []
  const tabs = reloads.map((_, i) => {
    const tab = new Version(() => void reloads[i]!++)
    tab.start((options) => {
      heard.push(options)
      return async () => heard.forEach((one) => one.onNeedReload?.())
    })
    return tab
  })
  return { tabs, reloads, found: () => heard.forEach((one) => one.onNeedRefresh?.()) }
}

test('a version that one tab lets in reloads that tab, and no other until it asks', async () => {
  const { tabs, reloads, found } = browser(2)
  found()
  expect(tabs.map((tab) => tab.waiting)).toEqual([true, true])
  await tabs[1]!.letIn()
  expect(reloads).toEqual([0, 1])
  expect(tabs[0]!.waiting).toBe(true)
  await tabs[0]!.letIn()
  expect(reloads).toEqual([1, 1])
})
