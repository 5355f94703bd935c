from .camvid import CamVidDataset  # noqa: F401
from .scenes import SceneDataset  # noqa: F401
