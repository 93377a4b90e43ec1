"""Labelled data, protocols and scores: a pretrained encoder learns a task."""
