"""One network: find its config, build it, run it once dry, name its places, load its weights."""

from kd_methods.networks import pretrained  # noqa: F401  (registers the initialiser)
