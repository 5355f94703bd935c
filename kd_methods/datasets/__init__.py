from .camvid import CamVidDataset  # noqa: F401
from .nyuv2 import NYUv2Dataset, NYUv2Dataset13  # noqa: F401
from .scenes import SceneDataset  # noqa: F401
