"""Tensor mathematics that knows of no network: maps, labels, logits, relations between places."""
