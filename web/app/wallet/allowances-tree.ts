import type { AllowanceView } from '../../edge/allowance/api.ts'

/** Those cut from a wallet, at any depth, each right below what it was cut from. */
export function ofWallet(list: readonly AllowanceView[], wallet: string): readonly AllowanceView[] {
  const below = (source: string): AllowanceView[] =>
    list.filter((one) => one.source.id === source).flatMap((one) => [one, ...below(one.id)])
  return below(wallet)
}
