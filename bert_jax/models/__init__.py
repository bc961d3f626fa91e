"""Encoders and heads: ids to vectors, in Flax Linen; no labels and no losses here."""
