"""Tables of papers, run again: ours beside the published numbers."""
