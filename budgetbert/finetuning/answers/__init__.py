"""Answers to questions in a text: what is read, how it is judged, and what costs nothing."""
