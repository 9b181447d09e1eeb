/** A fit in one process. */
import { synchronize } from '../../device.js'
import { Meter, type Receive, type Totals } from '../meter.js'
import type { Carried, LoopParts } from '../types.js'
import type { StopRequest, Strategy } from './strategy.js'

/** As Lightning's `SingleDeviceStrategy`. */
export class SingleDeviceStrategy implements Strategy {
  readonly isGlobalZero = true
  readonly stopsAlone = true

  async divide<B>(parts: LoopParts<B>): Promise<LoopParts<B>> {
    return parts
  }

  createMeter(receive: Receive): Meter {
    return new Meter(receive)
  }

  async setup(): Promise<void> {}

  averageGradients(): void {}

  setLossWeight(): void {}

  async agree(): Promise<void> {}

  stopReason(requested: StopRequest | null): StopRequest | null {
    return requested
  }

  async any(value: boolean): Promise<boolean> {
    return value
  }

  async checkSameEnd(): Promise<void> {}

  async total(totals: Totals): Promise<Totals> {
    return totals
  }

  async gather(carried: Carried): Promise<Carried> {
    return carried
  }

  partOf(carried: Carried): Carried {
    return carried
  }

  /** Steps that were queued behind the one that failed may fail, too: those errors are dropped. */
  async onException(): Promise<void> {
    await synchronize().catch(() => {})
  }

  teardown(): void {}
}
