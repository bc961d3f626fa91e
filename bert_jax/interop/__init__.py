"""Weights in and out of the public formats."""
