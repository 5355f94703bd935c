"""The form of CamVid's 360 x 480 release with 11 classes, which ``CamVidDataset`` reads."""

from pathlib import Path

from kd_methods.scenes.forms.base import SceneForm, unlabelled_rows
from kd_methods.scenes.maker import Scene
from kd_methods.utils.files import save_png, write_file

SEQUENCES = dict(train='0006R0_f', val='0016E5_', test='Seq05VD_f')  # beginnings of names
PARTS = dict(train=('train',), val=('val', 'test'))  # of the release, that a split of the scenes becomes
VOID = 11


class CamVidForm(SceneForm):
    """``{train,val,test}``, ``{train,val,test}annot`` and ``{train,val,test}.txt``; test is val again.

    The scene labels are the classes 0 (sky) to 10 (bicyclist); the lowest rows are void.
    """

    files = tuple(f'{part}.txt' for part in SEQUENCES)

    def bases(self) -> list[str]:
        return ['camvid_360x360']

    def folders(self) -> list[str]:
        return [folder for part in SEQUENCES for folder in (part, f'{part}annot')]

    def write(self, out: Path, split: str, index: int, scene: Scene) -> None:
        label = scene.label.copy()
        label[unlabelled_rows(len(label))] = VOID
        for part in PARTS[split]:
            name = f'{SEQUENCES[part]}{index:05d}.png'
            save_png(out / part / name, scene.image, level=1)
            save_png(out / f'{part}annot' / name, label, level=1)

    def finish(self, out: Path, split: str, written: list) -> None:
        for part in PARTS[split]:
            names = [f'{SEQUENCES[part]}{index:05d}.png' for index in range(len(written))]
            lines = [f'/SegNet/CamVid/{part}/{name} /SegNet/CamVid/{part}annot/{name}\n' for name in names]
            write_file(''.join(lines), out / f'{part}.txt')
