"""Starting bert_jax on other machines, and many times: python -m launch VERB --help."""
