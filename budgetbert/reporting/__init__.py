"""What the pages about runs and corpora share: charts, the base page and its style. Imports no Keras."""
