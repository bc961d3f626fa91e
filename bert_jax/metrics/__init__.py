"""Scores of predictions against labels, and what may be said of them, in numpy."""
