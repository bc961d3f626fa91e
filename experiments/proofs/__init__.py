"""The heavy proofs: each takes an empty folder to work in and gives its figures."""
