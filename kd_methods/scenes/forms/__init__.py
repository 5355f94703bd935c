"""The forms in which sign scenes lie on disk: their own, and that of each data set whose loader is tested."""

from kd_methods.scenes.forms.ade20k import ADE20KForm
from kd_methods.scenes.forms.base import SceneForm
from kd_methods.scenes.forms.camvid import CamVidForm
from kd_methods.scenes.forms.cityscapes import CityscapesForm
from kd_methods.scenes.forms.coco import CocoForm
from kd_methods.scenes.forms.nyuv2 import NYUv2Form
from kd_methods.scenes.forms.own import OwnForm
from kd_methods.scenes.forms.voc import VOCForm

FORMS = dict(scenes=OwnForm, cityscapes=CityscapesForm, voc=VOCForm, camvid=CamVidForm)
FORMS.update(coco=CocoForm, nyuv2=NYUv2Form, ade20k=ADE20KForm)


def build_form(name: str, seed: int = 0, depth: bool = False) -> SceneForm:
    """The form of a name; raises where there is none, or where it has no place for depth."""
    if name not in FORMS:
        raise ValueError(f'format: got {name!r}, expected one of {list(FORMS)}')
    if depth and not FORMS[name].has_depth:
        cure = f'leave --depth or --format {name} out'
        raise ValueError(f'depth: the form {name!r} has no place for depth maps; {cure}')
    return FORMS[name](seed, depth)
