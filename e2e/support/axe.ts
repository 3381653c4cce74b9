/** What axe finds on a page as it stands, in light and dark, on a desktop and a phone. */
import { AxeBuilder } from '@axe-core/playwright'
import path from 'node:path'
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

/** `picture` names what is shown: with PICTURES set to a directory, each look is kept there for whoever looks. */
export async function violations(
  page: Page,
  looks: readonly Look[] = LOOKS,
  picture?: string,
): Promise<string[]> {
  const pictures = process.env['PICTURES']
  const found: string[] = []
  for (const { colorScheme, size } of looks) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.setViewportSize(size)
    if (picture !== undefined && pictures !== undefined)
      await page.screenshot({
        path: path.join(pictures, `${picture}-${size.width}-${colorScheme}.png`),
        fullPage: true,
      })
    // The other mode finishes in a second tab, which hides this one: Chromium does not always draw it again.
    const result = await new AxeBuilder({ page }).setLegacyMode().analyze()
    const where = `${picture ?? ''} ${new URL(page.url()).pathname}, ${colorScheme}, ${size.width} px`
    for (const { id, nodes } of result.violations)
      found.push(`${where}: ${id} at ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`)
  }
  await page.setViewportSize(SIZES[0])
  return found
}

/** The least width that a page has to fit (WCAG 2.2, 1.4.10), in px. */
const NARROW = { width: 320, height: 700 } as const

/** By how many px a page can be scrolled sideways where there is least room; `picture` as for `violations`. */
export async function sideways(page: Page, picture?: string): Promise<number> {
  await page.setViewportSize(NARROW)
  const pictures = process.env['PICTURES']
  if (picture !== undefined && pictures !== undefined)
    await page.screenshot({ path: path.join(pictures, `${picture}-${NARROW.width}.png`), fullPage: true })
  const over = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  await page.setViewportSize(SIZES[0])
  return over
}
