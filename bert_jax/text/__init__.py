"""Words to piece numbers and back. Imports no jax: tokenising and its tests start at once."""
