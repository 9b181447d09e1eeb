/** TensorFlow.js's side of the benchmark (optional); protocol.md says what a peer is. */
import { serve } from '#bench/peers/serve.js'
import { setUp, title } from './tfjs_models.js'

await serve(title, setUp)
