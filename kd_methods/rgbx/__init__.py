"""What a network of RGB and X (depth, disparity, normals, ...) needs: data, preprocessing, two encoders."""
from .dataset import RGBXDataset

__all__ = ['RGBXDataset']
