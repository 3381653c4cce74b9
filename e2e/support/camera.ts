/** QR codes between pages: drawn for Chromium's fake camera (two frames of uncompressed YUV, YUV4MPEG2), and read as they look. */
import fs from 'node:fs'
import type { Locator } from 'playwright'
import encodeQR from 'qr'
import decodeQR from 'qr/decode.js'

const WIDTH = 640
const HEIGHT = 480
const BLACK = 16
const WHITE = 235
const GREY = 128

/** Writes `file` (.y4m); give it to `openBrowser` with `cameraFlags`. */
export function drawCode(file: string, text: string): void {
  const modules = encodeQR(text, 'raw', { border: 4, ecc: 'low' })
  const scale = Math.floor(HEIGHT / modules.length)
  const [left, top] = [WIDTH, HEIGHT].map((side) => Math.floor((side - scale * modules.length) / 2))
  const luma = Buffer.alloc(WIDTH * HEIGHT, WHITE)
  modules.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (!dark) return
      for (let line = 0; line < scale; line++) {
        const start = ((top ?? 0) + y * scale + line) * WIDTH + (left ?? 0) + x * scale
        luma.fill(BLACK, start, start + scale)
      }
    }),
  )
  const chroma = Buffer.alloc((WIDTH * HEIGHT) / 2, GREY)
  const frame = Buffer.concat([Buffer.from('FRAME\n'), luma, chroma])
  fs.writeFileSync(
    file,
    Buffer.concat([Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F10:1 Ip A1:1 C420jpeg\n`), frame, frame]),
  )
}

export const cameraFlags = (file: string): readonly string[] => [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  `--use-file-for-fake-video-capture=${file}`,
]

/** What a code on a page says, read from a picture of it. @throws Error where it cannot be read */
export async function readCode(code: Locator): Promise<string> {
  const png = (await code.screenshot()).toString('base64')
  const picture = await code.page().evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))
    const image = await createImageBitmap(new Blob([bytes]))
    const { width, height } = image
    const context = new OffscreenCanvas(width, height).getContext('2d')
    if (!context) throw new Error('no canvas')
    context.drawImage(image, 0, 0)
    return { width, height, data: [...context.getImageData(0, 0, width, height).data] }
  }, png)
  return decodeQR({ ...picture, data: Uint8Array.from(picture.data) })
}
