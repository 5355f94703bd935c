"""One network: find its config, build it, run it once dry, name its places, load its weights."""
