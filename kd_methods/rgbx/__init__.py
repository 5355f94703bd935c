"""What a network of RGB and X (depth, disparity, normals, ...) needs: data, preprocessing, two encoders."""
from .dataset import CityscapesDisparityDataset, RGBXDataset
from .encoder import DuplexEncoder
from .late_fusion import LateFusionHead
from .loading import LoadXFromFile, PackRGBXInputs, PadRGBX
from .preprocessor import RGBXDataPreProcessor

__all__ = [
    'CityscapesDisparityDataset', 'DuplexEncoder', 'LateFusionHead', 'LoadXFromFile', 'PackRGBXInputs', 'PadRGBX',
    'RGBXDataPreProcessor', 'RGBXDataset'
]
