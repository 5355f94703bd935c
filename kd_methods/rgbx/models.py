"""The parts of RGB-X networks that derive from mmseg's models; importing this imports all of those, which takes seconds."""
from .late_fusion import LateFusionHead
from .preprocessor import RGBXDataPreProcessor

__all__ = ['LateFusionHead', 'RGBXDataPreProcessor']
