"""The directory of a run: what stands in it, and who writes and reads it."""
