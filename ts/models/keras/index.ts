/** Models of Keras and TensorFlow.js. */
export { type FromKerasOptions, fromKeras } from './from_keras.js'
export { fromTfjs } from './from_tfjs.js'
export { KerasModel } from './keras_model.js'
