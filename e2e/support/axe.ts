/** What axe finds on a page as it stands, in light and dark, on a desktop and a phone. */
import { AxeBuilder } from '@axe-core/playwright'
import type { Page } from 'playwright'

export const SIZES = [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
] as const
export type Look = Readonly<{ colorScheme: 'light' | 'dark'; size: (typeof SIZES)[number] }>

export const LOOKS: readonly Look[] = (['light', 'dark'] as const).flatMap((colorScheme) =>
  SIZES.map((size) => ({ colorScheme, size })),
)

/** Where time is short: the one that is hardest to lay out. */
export const ONE_LOOK: readonly Look[] = [{ colorScheme: 'dark', size: SIZES[1] }]

export async function violations(page: Page, looks: readonly Look[] = LOOKS): Promise<string[]> {
  const found: string[] = []
  for (const { colorScheme, size } of looks) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.setViewportSize(size)
    const result = await new AxeBuilder({ page }).analyze()
    const where = `${new URL(page.url()).pathname}, ${colorScheme}, ${size.width} px`
    for (const { id, nodes } of result.violations)
      found.push(`${where}: ${id} at ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)
  }
  await page.setViewportSize(SIZES[0])
  return found
}
