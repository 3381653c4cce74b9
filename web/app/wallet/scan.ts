/** Reads QR codes from the camera: by the browser where it can, else by a library that is loaded then. */

type Frame = HTMLVideoElement
type Reader = (frame: Frame) => Promise<string | undefined>
type Detector = { detect(frame: Frame): Promise<readonly { rawValue: string }[]> }
type DetectorClass = {
  new (options: { formats: string[] }): Detector
  getSupportedFormats(): Promise<readonly string[]>
}

const EVERY_MS = 120
/** Enough for a code of 60 modules, and quick to read on a phone. */
const MAX_SIDE = 800

/** @throws DOMException when there is no camera, or it may not be used */
export const openCamera = (): Promise<MediaStream> =>
  navigator.mediaDevices.getUserMedia({
    audio: false,
    video: { facingMode: 'environment', width: { ideal: 1280 } },
  })

/** Looks at `video` until it shows a code. Rejects only when `signal` aborts. */
export async function scan(video: HTMLVideoElement, signal: AbortSignal): Promise<string> {
  const read = await bestReader()
  for (;;) {
    signal.throwIfAborted()
    const text = video.readyState >= video.HAVE_CURRENT_DATA ? await read(video) : undefined
    if (text !== undefined && text !== '') return text
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS))
  }
}

async function bestReader(): Promise<Reader> {
  const { BarcodeDetector } = globalThis as { BarcodeDetector?: DetectorClass }
  const formats = await BarcodeDetector?.getSupportedFormats().catch((): readonly string[] => [])
  if (!BarcodeDetector || !formats?.includes('qr_code')) return libraryReader()
  const detector = new BarcodeDetector({ formats: ['qr_code'] })
  return async (frame) => (await detector.detect(frame).catch(() => []))[0]?.rawValue
}

async function libraryReader(): Promise<Reader> {
  const { default: decode } = await import('qr/decode.js')
  const canvas = document.createElement('canvas')
  const context = canvas.getContext('2d', { willReadFrequently: true })
  return async (frame) => {
    const scale = Math.min(1, MAX_SIDE / Math.max(frame.videoWidth, frame.videoHeight))
    canvas.width = Math.round(frame.videoWidth * scale)
    canvas.height = Math.round(frame.videoHeight * scale)
    if (!context || canvas.width === 0 || canvas.height === 0) return undefined
    context.drawImage(frame, 0, 0, canvas.width, canvas.height)
    const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height)
    try {
      return decode({ data, width, height })
    } catch {
      return undefined // no code in this frame
    }
  }
}
