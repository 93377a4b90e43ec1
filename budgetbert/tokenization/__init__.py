"""Text to token ids: the one normaliser, WordPiece vocabularies, the encoder. Imports neither Keras nor TensorFlow."""
