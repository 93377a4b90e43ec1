"""Tags of words: from a file with a tag for each word to a model, its scores, and entities in other texts."""
