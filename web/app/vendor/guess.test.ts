import { expect, test } from 'vitest'
import { guess, nextVersion } from './guess.ts'

test('product, version and hardware come from the name', () => {
  expect(guess('gateway-os-2.4.1-rpi4.swu', ['rpi4', 'rpi5'])).toEqual({
    product: 'gateway-os',
    version: '2.4.1',
    hardware: ['rpi4'],
  })
  expect(guess('Sensor_Agent v1.9.0.tar.gz')).toEqual({
    product: 'sensor-agent',
    version: '1.9.0',
    hardware: [],
  })
  expect(guess('meter-fw-7.0.3-rc1.bin')).toMatchObject({ product: 'meter-fw', version: '7.0.3-rc1' })
  expect(guess('image-2026.11.img.xz')).toMatchObject({ product: 'image', version: '2026.11' })
})

test('a name that tells nothing gives nothing that a release would refuse', () => {
  expect(guess('firmware.bin')).toEqual({ product: 'firmware', version: '', hardware: [] })
  expect(guess('日本語.bin').product).toMatch(/^$/)
  expect(guess('Été 1.2.zip')).toMatchObject({ product: 'ete', version: '1.2' })
  expect(guess('rpi4-boot.img', ['rpi4'])).toMatchObject({ product: 'boot', hardware: ['rpi4'] })
  for (const name of ['', '...', '-1.0', ' .x', 'a'.repeat(300)]) {
    expect(guess(name).product).toMatch(/^([a-z0-9][a-z0-9._-]{0,63})?$/)
  }
})

test('the next version counts up its last number', () => {
  expect(nextVersion('2.4.1')).toBe('2.4.2')
  expect(nextVersion('2026.09')).toBe('2026.10')
  expect(nextVersion('1.0.0-rc1')).toBe('1.0.1')
  expect(nextVersion('')).toBe('')
})
