"""Published benchmarks: their tables, means, baselines and submissions."""
