"""Trained directories behind HTTP: what `predict` and `search` answer, to many at once."""
