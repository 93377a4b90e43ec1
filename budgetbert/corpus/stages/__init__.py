"""The stages of a preparation, each with the worker that its processes run."""
