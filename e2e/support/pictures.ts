/** Pictures of a page for whoever looks, phone and desktop, light and dark: kept in the directory that `PICTURES` names. */
import path from 'node:path'
import type { Page } from 'playwright'
import { LOOKS, SIZES } from './axe.ts'

export async function picture(page: Page, name: string): Promise<void> {
  const directory = process.env['PICTURES']
  if (directory === undefined) return
  for (const { size, colorScheme } of LOOKS) {
    await page.setViewportSize(size)
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.screenshot({ path: path.join(directory, `${name}-${size.width}-${colorScheme}.png`) })
  }
  await page.setViewportSize(SIZES[0])
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'no-preference' })
}
