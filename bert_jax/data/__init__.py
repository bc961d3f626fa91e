"""Documents to numpy batches: text files -> sentences -> token store -> row plan -> masked rows. Imports no jax."""
