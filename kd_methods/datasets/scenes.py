"""Data set of sign scenes for semantic segmentation."""
import os.path as osp
from pathlib import Path

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from kd_methods.rgbx.dataset import RGBXDataset


def scenes_command(root: str) -> str:
    """The command that writes the sign scenes which the shipped configs expect in a directory."""
    from .scene_forms import FORMS
    name = Path(root).name
    form = name.removeprefix('scenes_')
    options = ' --depth --camouflage 0.5' if 'rgbd' in name else f' --format {form}' if form in FORMS else ''
    return f'python tools/data/make_scenes.py --out {root}{options}'


@DATASETS.register_module()
class SceneDataset(RGBXDataset, BaseSegDataset):
    """Sign scenes as ``tools/data/make_scenes.py`` writes them: background and the digits 0 to 9.

    Images are ``images/*.png``, labels ``labels/*.png`` with 0 for background and digit + 1 on the
    whole sign; 255 is ignored. Depth, where it was written, is ``depths/*.png``
    (``data_prefix.x_path``).

    Args:
        img_suffix (str): Defaults to '.png'.
        seg_map_suffix (str): Defaults to '.png'.
        **kwargs: Those of ``RGBXDataset`` and ``BaseSegDataset``.
    """

    METAINFO = dict(
        classes=('background', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'),
        palette=[[40, 40, 40], [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200],
                 [245, 130, 48], [145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60],
                 [250, 190, 212]])

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list:
        """List the scenes.

        Returns:
            list[dict]: Paths of image and label of each scene.
        """
        for key in ('img_path', 'seg_map_path', 'x_path'):
            folder = self.data_prefix.get(key)
            if folder and not osp.isdir(folder):
                raise FileNotFoundError(
                    f'SceneDataset: no directory {folder!r} (data_root={self.data_root!r}, '
                    f'data_prefix.{key}). Write the scenes first: '
                    f'{scenes_command(self.data_root or "data/scenes")}')
        return super().load_data_list()
