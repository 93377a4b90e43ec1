"""From a file with labels to a model, a page, and labels for files without."""
