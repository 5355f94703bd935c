"""Networks of RGB and X (depth, disparity, normals, ...): data, preprocessing, two encoders."""

import importlib
from typing import Any

from mmseg.registry import MODELS

from kd_methods.rgbx.dataset import CityscapesDisparityDataset, RGBXDataset
from kd_methods.rgbx.encoder import DuplexEncoder
from kd_methods.rgbx.loading import LoadXFromFile, PackRGBXInputs, PadRGBX

__all__ = ['CityscapesDisparityDataset', 'DuplexEncoder', 'LateFusionHead', 'LoadXFromFile']
__all__ += ['PackRGBXInputs', 'PadRGBX', 'RGBXDataPreProcessor', 'RGBXDataset']
_LAZY = f'{__name__}.models'

# These derive from mmseg's models, whose import takes seconds. mmseg imports its models when one is first
# looked up; in its private list of locations (a registry has no public one) these come with them.
if MODELS._imported:
    importlib.import_module(_LAZY)
elif _LAZY not in MODELS._locations:
    MODELS._locations.append(_LAZY)


def __getattr__(name: str) -> Any:
    if name in ('LateFusionHead', 'RGBXDataPreProcessor'):
        return getattr(importlib.import_module(_LAZY), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
