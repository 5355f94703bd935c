"""The scenes' own form, which ``SceneDataset`` reads."""

from pathlib import Path

from kd_methods.scenes.forms.base import SceneForm, sensed_depth
from kd_methods.scenes.maker import Scene
from kd_methods.scenes.sources import SPLITS
from kd_methods.utils.files import save_png


class OwnForm(SceneForm):
    """``{train,val}/{images,labels}/00000.png``, and with depth ``{train,val}/depths``, which holds 16-bit
    millimetres with 0 where nothing was measured.
    """

    has_depth = True

    def bases(self) -> list[str]:
        return ['scenesrgbd'] if self.depth else ['scenes_seg']

    def folders(self) -> list[str]:
        kinds = ('images', 'labels', *(['depths'] if self.depth else []))
        return [f'{split}/{kind}' for split in SPLITS for kind in kinds]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        name = f'{index:05d}.png'
        # Level 1: noise hardly compresses, and higher levels take three times as long for 5 %.
        save_png(out / split / 'images' / name, scene.image, level=1)
        save_png(out / split / 'labels' / name, scene.label, level=1)
        if self.depth:
            save_png(out / split / 'depths' / name, sensed_depth(scene, self.seed, split, index), level=1)
