"""Raw text -> rows on disk, and their reader. Imports neither Keras nor TensorFlow."""
