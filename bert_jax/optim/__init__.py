"""Optimisers, schedules and the masks that say which parameters decay; all optax transformations."""
