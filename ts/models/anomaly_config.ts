/** What an AnomalyDetector is: its options, and what it learns beside its weights. */
import { checkNames } from '../data/series_windows.js'
import type { Scale } from '../data/window_features.js'
import type { Device } from '../device.js'
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { CELL_NAMES, type CellName } from './cell_names.js'

/** Where the threshold is: so far above what normal rows score, or a score. */
export type AnomalyThreshold = number | { quantile: number; factor: number }

/** What {@link AnomalyDetector} takes. */
export interface AnomalyDetectorOptions {
  /** The columns to look at. Default: all. */
  columns?: readonly string[]
  /**
   * 'autoencoder': a window is put together again from its summary, and what does not come back is
   * strange. 'forecast': the next row is predicted from the window. Default 'autoencoder'.
   */
  method?: 'autoencoder' | 'forecast'
  /** Rows that are looked at together. Default 10. */
  windowSize?: number
  /** H, the size of the summary. Default 32. */
  hiddenSize?: number
  /** Default 'lstm'. */
  cell?: CellName
  /** Default: 1.5 times the .99 quantile of the scores of normal rows that were kept apart. */
  threshold?: AnomalyThreshold
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** The options with their defaults. */
export interface AnomalyDetectorConfig {
  columns: readonly string[] | null
  method: 'autoencoder' | 'forecast'
  windowSize: number
  hiddenSize: number
  cell: CellName
  threshold: AnomalyThreshold
}

/** What `fit` has found. */
export interface AnomalyDetectorState {
  columns: string[]
  scales: Scale[]
  /** A row that scores more is an anomaly. */
  threshold: number
  /** Scores of normal rows that were kept apart, rising: what calibrate and other thresholds begin with. */
  normal: { quantile: number; score: number }[]
}

const KEYS = ['columns', 'method', 'windowSize', 'hiddenSize', 'cell', 'threshold']

/** @throws TypeError, RangeError */
export function checkDetector(options: AnomalyDetectorOptions): AnomalyDetectorConfig {
  const fn = 'AnomalyDetector'
  checkOptions(fn, options, [...KEYS, 'device'])
  const columns = options.columns == null ? null : checkNames(fn, 'columns', options.columns)
  if (columns?.length === 0) throw rangeError(fn, 'columns', 'at least one name', 'none')
  return {
    columns,
    method: checkOneOf(fn, 'method', options.method ?? 'autoencoder', ['autoencoder', 'forecast']),
    windowSize: checkInteger(fn, 'windowSize', options.windowSize ?? 10, 2, 2 ** 16),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 32, 1, 2 ** 16),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'lstm', CELL_NAMES),
    threshold: checkThreshold(fn, options.threshold ?? { quantile: 0.99, factor: 1.5 }),
  }
}

function checkThreshold(fn: string, given: unknown): AnomalyThreshold {
  if (typeof given === 'number') {
    checkNumber(fn, 'threshold', given, 0)
    if (given === Infinity) throw rangeError(fn, 'threshold', 'a finite number', 'Infinity')
    return given
  }
  if (typeof given !== 'object' || given === null)
    throw typeError(fn, 'threshold', 'a number or { quantile, factor }', given)
  checkOptions(fn, given, ['quantile', 'factor'])
  const { quantile = 0.99, factor = 1.5 } = given as { quantile?: unknown; factor?: unknown }
  const checked = {
    quantile: checkNumber(fn, 'threshold.quantile', quantile, 0, 1),
    factor: checkNumber(fn, 'threshold.factor', factor, 0, 1e9),
  }
  if (checked.factor === 0) throw rangeError(fn, 'threshold.factor', 'a number above 0', '0')
  return checked
}
