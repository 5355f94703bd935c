"""Data sets for mmseg, and the walk over the data sets of a config."""

from kd_methods.datasets.camvid import CamVidDataset  # noqa: F401
from kd_methods.datasets.nyuv2 import NYUv2Dataset, NYUv2Dataset13  # noqa: F401
from kd_methods.datasets.unlabelled import LoadNoLabels, ShareSampler, UnlabelledDataset  # noqa: F401
from kd_methods.datasets.variants import SeededVariants  # noqa: F401
