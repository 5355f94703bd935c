"""Data set of sign scenes for semantic segmentation."""

from pathlib import Path

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset

from kd_methods.rgbx.dataset import RGBXDataset, check_folders
from kd_methods.scenes.forms import FORMS

_COLOURS = {
    'background': [40, 40, 40],
    '0': [230, 25, 75],
    '1': [60, 180, 75],
    '2': [255, 225, 25],
    '3': [0, 130, 200],
    '4': [245, 130, 48],
    '5': [145, 30, 180],
    '6': [70, 240, 240],
    '7': [240, 50, 230],
    '8': [210, 245, 60],
    '9': [250, 190, 212],
}


def _scenes_folder(root: str) -> tuple[Path, str] | None:
    """The folder that ``make_scenes.py --out`` names, and the options of its name; None for another name."""
    options = dict(scenes='', scenes_rgbd=' --depth --camouflage 0.5')
    for name, form in FORMS.items():
        options.setdefault(f'scenes_{name}', f' --format {name}' + ' --depth' * form.has_depth)
    folders = (Path(root), Path(root).parent)
    return next(((path, options[path.name]) for path in folders if path.name in options), None)


def is_scenes_folder(root: str) -> bool:
    """Whether a data root has a name that this project gives to sign scenes, such as ``data/scenes_coco``."""
    return _scenes_folder(root) is not None


def scenes_command(root: str) -> str:
    """The command that writes the sign scenes which the shipped configs expect in a directory."""
    other = ' --depth --camouflage 0.5' if 'rgbd' in Path(root).name else ''
    folder, options = _scenes_folder(root) or (root, other)
    return f'python tools/data/make_scenes.py --out {folder}{options}'


@DATASETS.register_module()
class SceneDataset(RGBXDataset, BaseSegDataset):
    """Sign scenes as ``tools/data/make_scenes.py`` writes them: background and the digits 0 to 9.

    Images are ``images/*.png``, labels ``labels/*.png`` with 0 for background and digit + 1 on the whole
    sign; 255 is ignored. Depth, where it was written, is ``depths/*.png`` (``data_prefix.x_path``).

    Args:
        img_suffix (str): Defaults to '.png'.
        seg_map_suffix (str): Defaults to '.png'.
        **kwargs: Those of ``RGBXDataset`` and ``BaseSegDataset``.
    """

    METAINFO = dict(classes=tuple(_COLOURS), palette=list(_COLOURS.values()))

    def __init__(self, img_suffix: str = '.png', seg_map_suffix: str = '.png', **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_data_list(self) -> list:
        """List the scenes."""
        cure = f'Write the scenes first: {scenes_command(self.data_root or "data/scenes")}'
        check_folders(self, cure, 'img_path', 'seg_map_path', 'x_path')
        return super().load_data_list()
