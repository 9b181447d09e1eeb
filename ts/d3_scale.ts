/**
 * Scales for the axes of pictures. scripts/commonjs.mjs puts the package's code in this file's place
 * in dist, so that it need not be installed with ours.
 */
export { scaleLinear, scaleLog, scaleUtc } from 'd3-scale'
