"""The form of ADE20K's scene parsing benchmark (ADEChallengeData2016)."""

from pathlib import Path

from kd_methods.scenes.forms.base import SceneForm, save_jpeg, unlabelled_rows
from kd_methods.scenes.maker import Scene
from kd_methods.utils.files import save_png

PARTS = dict(train='training', val='validation')


class ADE20KForm(SceneForm):
    """``images/{training,validation}/ADE_{train,val}_00000001.jpg``, and ``annotations`` likewise in PNG.

    The scene labels are the classes 1 (wall) to 11 (cabinet) of 150; the lowest rows are 0, other.
    """

    def bases(self) -> list[str]:
        return ['ade20k_512x512']

    def folders(self) -> list[str]:
        return [f'{kind}/{part}' for kind in ('images', 'annotations') for part in PARTS.values()]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        name = f'{PARTS[split]}/ADE_{split}_{index + 1:08d}'
        label = scene.label + 1
        label[unlabelled_rows(len(label))] = 0
        save_jpeg(out / f'images/{name}.jpg', scene.image)
        save_png(out / f'annotations/{name}.png', label, level=1)
