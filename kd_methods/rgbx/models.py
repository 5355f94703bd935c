"""The parts of RGB-X networks that derive from mmseg's models; importing this takes seconds."""

from kd_methods.rgbx.late_fusion import LateFusionHead
from kd_methods.rgbx.preprocessor import RGBXDataPreProcessor

__all__ = ['LateFusionHead', 'RGBXDataPreProcessor']
