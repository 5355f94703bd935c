"""Made data: sign scenes, drawn from a seed and written in the on-disk form of each supported data set."""

from kd_methods.scenes.dataset import SceneDataset  # noqa: F401
