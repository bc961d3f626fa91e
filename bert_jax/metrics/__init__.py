"""Scores of predictions against labels, in numpy."""
