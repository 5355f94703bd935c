"""Files, processes and words; nothing here knows of networks or tensors."""
