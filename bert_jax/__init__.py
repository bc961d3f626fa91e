"""Pretraining of BERT-family encoders in JAX: from raw text to a trained, evaluated, resumable encoder."""
