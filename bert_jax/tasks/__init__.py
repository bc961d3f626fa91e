"""Benchmarks: where each lies, how it is read, and how it is scored."""
