"""One training step, laid out over devices under jit or under pmap."""
