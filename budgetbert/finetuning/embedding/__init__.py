"""Pairs, triplets, scored pairs and plain texts, from which a model of vectors is finetuned."""
