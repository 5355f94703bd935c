"""Step time of a MMRazor recipe under FrozenTeacherDistill and under mmrazor.SingleTeacherDistill.

Both algorithms train in one process, on the same batch and from the same weights, and take turns, so that
other load of the machine falls on both. What counts is the ratio.

    python benchmarks/step.py --teacher-depth 50 --size 192 --batch 2 --repeats 10
    python benchmarks/step.py --pair cascade --teacher-depth 50 --size 192 --batch 2 --repeats 5

The first is CWD on the logits of PSPNet, where the teacher is read at its end. The second is CWD on the necks
of two detectors, where it can stop before its heads; the time of the teacher alone is printed too. All
weights are random: a trained teacher finds more objects, so its mask head has more to do in mode='loss'. The
heads' part falls with the size of the images.
"""

import argparse
import copy
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from common import alternate, median_min_max
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from kd_methods.distill.teacher import FrozenTeacher
from kd_methods.networks.config import resolve_model_cfg

OURS, THEIRS = ALGORITHMS = 'FrozenTeacherDistill', 'mmrazor.SingleTeacherDistill'


def pspnet_recipe(teacher_depth: str, size: int) -> ConfigDict:
    """MMRazor's CWD recipe for PSPNet on Cityscapes, its teacher of the given depth, without downloads."""
    name = 'cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    model = get_config(f'mmrazor::distill/mmseg/cwd/{name}').model
    for key in ('architecture', 'teacher'):
        model[key] = resolve_model_cfg(dict(model[key], downloads=False), key)
        model[key].data_preprocessor.size = (size, size)
    model.teacher.backbone.depth = int(teacher_depth)
    return model


def cascade_recipe(teacher_depth: str, size: int) -> ConfigDict:
    """MMRazor's CWD recipe for the necks of two Faster R-CNN on COCO, with a Cascade Mask R-CNN as teacher.

    Its own algorithm is mmrazor.FpnTeacherDistill, which runs only backbone and neck of a teacher. Compared
    here is the algorithm for any recipe.
    """
    model = get_config('mmrazor::distill/mmdet/cwd/cwd_fpn_frcnn_r101_frcnn_r50_1x_coco.py').model
    backbone = 'x101-32x4d' if teacher_depth == 'x101' else f'r{teacher_depth}'
    # its name since mmdet 3
    model.architecture.cfg_path = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
    model.teacher.cfg_path = f'mmdet::cascade_rcnn/cascade-mask-rcnn_{backbone}_fpn_1x_coco.py'
    for key in ('architecture', 'teacher'):
        model[key] = resolve_model_cfg(dict(model[key], downloads=False), key)
    return model


def pspnet_batch(batch: int, size: int, rng: torch.Generator) -> dict:
    """Random images and labels, as a dataloader collates them."""
    from mmseg.structures import SegDataSample

    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, size, size), generator=rng)))
        for _ in range(batch)
    ]
    return collate(samples, size, rng)


def cascade_batch(batch: int, size: int, rng: torch.Generator) -> dict:
    """Random images with 4 to 10 ellipses each, as boxes and as masks; COCO has 7 objects an image."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    samples = []
    for _ in range(batch):
        count = int(torch.randint(4, 11, (), generator=rng))
        sides = size * (0.1 + 0.4 * torch.rand(count, 2, generator=rng))
        corners = (size - sides) * torch.rand(count, 2, generator=rng)
        centres = corners + sides / 2
        x, y = (
            ((torch.arange(size) + 0.5 - centres[:, axis, None]) / sides[:, axis, None] * 2).square()
            for axis in (0, 1)
        )
        masks = (x[:, None, :] + y[:, :, None]) <= 1
        instances = InstanceData(
            bboxes=torch.cat([corners, corners + sides], dim=1),
            labels=torch.randint(0, 80, (count,), generator=rng),
            masks=BitmapMasks(masks.to(torch.uint8).numpy(), size, size),
        )
        samples.append(DetDataSample(gt_instances=instances))
    return collate(samples, size, rng)


def collate(samples: list, size: int, rng: torch.Generator) -> dict:
    """A random image for each sample."""
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(size, size), ori_shape=(size, size)))
    inputs = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8, generator=rng) for _ in samples]
    return dict(inputs=inputs, data_samples=samples)


class Pair(NamedTuple):
    """A recipe with what belongs to it; ``stops_early`` where the teacher's time is printed by itself too."""

    title: str
    scope: str
    depths: tuple[str, ...]
    repeats: int
    recipe: Callable[[str, int], ConfigDict]
    make_batch: Callable[[int, int, torch.Generator], dict]
    stops_early: bool


PSPNET, CASCADE = 'CWD recipe, PSPNet {} -> R18', 'CWD on necks, Cascade Mask R-CNN {} -> Faster R-CNN R50'
PAIRS = dict(
    pspnet=Pair(PSPNET, 'mmseg', ('50', '101'), 10, pspnet_recipe, pspnet_batch, False),
    cascade=Pair(CASCADE, 'mmdet', ('50', '101', 'x101'), 5, cascade_recipe, cascade_batch, True),
)


def build(recipe: ConfigDict, device: torch.device) -> dict[str, BaseModel]:
    """The recipe under each of the algorithms, all with the same weights."""
    models: dict[str, BaseModel] = {}
    for name in ALGORITHMS:
        torch.manual_seed(0)
        cfg = copy.deepcopy(recipe)
        cfg.update(type=name, teacher_ckpt=None)
        model = MODELS.build(Config(dict(model=cfg)).model)
        if device.type == 'cpu':
            model = revert_sync_batchnorm(model)
        models[name] = model.to(device)
        models[name].train()
        # What else draws random numbers while it is built may differ, so the seed alone would not do.
        models[name].architecture.load_state_dict(models[OURS].architecture.state_dict())
        teacher_of(model).load_state_dict(teacher_of(models[OURS]).state_dict())
    return models


def teacher_of(model: BaseModel) -> BaseModel:
    """The teacher's network, which FrozenTeacherDistill holds in a wrapper."""
    return model.teacher.model if isinstance(model.teacher, FrozenTeacher) else model.teacher


def compare_steps(models: dict[str, BaseModel], repeats: int, make_batch: Callable) -> dict[str, list[float]]:
    """Seconds of the training steps of each algorithm."""

    def way(model: BaseModel) -> Callable[[dict], dict]:
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
        return lambda data: model.train_step(copy.deepcopy(data), wrapper)

    ways = {name: way(model) for name, model in models.items()}
    times, logs = alternate(ways, repeats, 2, lambda: (make_batch(),))
    for name, log in logs.items():
        if not math.isfinite(log['loss']):  # heads find other numbers of objects, so the times would mislead
            raise FloatingPointError(f'{name}: the loss is {log["loss"]} after {repeats + 2} steps')
    return times


def compare_teachers(
    models: dict[str, BaseModel], repeats: int, make_batch: Callable
) -> dict[str, list[float]]:
    """Seconds of the teacher in a step: up to its last tap, and whole as SingleTeacherDistill runs it."""

    def prepare() -> tuple[torch.Tensor, list]:
        data = models[THEIRS].data_preprocessor(make_batch(), True)
        return data['inputs'], data['data_samples']

    ours, theirs = models[OURS].teacher, models[THEIRS].teacher
    ways = {
        'up to its last tap': lambda *data: ours.run(*data, ours.recorder),
        "mode='loss'": torch.no_grad()(lambda *data: theirs(*data, mode='loss')),
    }
    return alternate(ways, repeats, 2, prepare)[0]


def print_ratio(times: dict[str, list[float]]) -> float:
    """Print a row for each way, and the first's median as a share of the second's, which is returned."""
    for name, seconds in times.items():
        middle, low, high = median_min_max(seconds)
        print(f'  {name:30s} {middle:.3f} s  ({low:.3f} - {high:.3f})')
    ours, theirs, *_ = (median_min_max(seconds)[0] for seconds in times.values())
    print(f'  ratio {ours / theirs:.2f}')
    return ours / theirs


def main(argv: list[str] | None = None) -> float:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    pair = 'recipe: PSPNet (default), or two detectors'
    parser.add_argument('--pair', choices=PAIRS, default='pspnet', help=pair)
    depth = 'ResNet depth of the teacher; x101 is ResNeXt-101 32x4d, for cascade only'
    parser.add_argument('--teacher-depth', default='50', choices=('50', '101', 'x101'), help=depth)
    parser.add_argument('--size', type=int, default=192, help='height and width of the images in pixels')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    repeats = 'steps of each algorithm, after two to warm up; 10, for cascade 5'
    parser.add_argument('--repeats', type=int, help=repeats)
    args = parser.parse_args(argv)
    pair = PAIRS[args.pair]
    if args.teacher_depth not in pair.depths:
        parser.error(f'--teacher-depth: {args.pair} has {" and ".join(pair.depths)}')
    repeats = pair.repeats if args.repeats is None else args.repeats
    warnings.filterwarnings('ignore')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    rng = torch.Generator().manual_seed(0)

    def make_batch() -> dict:
        return pair.make_batch(args.batch, args.size, rng)

    with DefaultScope.overwrite_default_scope(pair.scope):
        models = build(pair.recipe(args.teacher_depth, args.size), device)
        steps = compare_steps(models, repeats, make_batch)
        teachers = compare_teachers(models, repeats, make_batch) if pair.stops_early else None
    title = pair.title.format('X101' if args.teacher_depth == 'x101' else f'R{args.teacher_depth}')
    print(
        f'{title}, {args.batch} x {args.size} x {args.size}, {device}, {torch.get_num_threads()} threads, '
        f'median of {repeats} alternating steps'
    )
    ratio = print_ratio(steps)
    if teachers:
        print("the teacher's part of it")
        print_ratio(teachers)
    return ratio


if __name__ == '__main__':
    main()
