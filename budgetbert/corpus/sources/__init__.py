"""Where text comes from, and what cleans it."""
