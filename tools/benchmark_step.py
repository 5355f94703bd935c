"""Step time of a MMRazor recipe under FrozenTeacherDistill and under mmrazor.SingleTeacherDistill.

Both algorithms train in one process, on the same batch and from the same weights, and take turns, so that whatever else the
machine does falls on both. What counts is the ratio.

    python tools/benchmark_step.py --teacher-depth 50 --size 192 --batch 2 --repeats 10
"""
import argparse
import copy
import statistics
import time
import warnings

import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from kd_methods.core.networks import resolve_model_cfg


def recipe(algorithm: str, teacher_depth: int, size: tuple[int, int]) -> dict:
    """MMRazor's CWD recipe for PSPNet on Cityscapes, its teacher at the depth asked for, without downloads."""
    path = 'mmrazor::distill/mmseg/cwd/cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    from mmengine.hub import get_config
    model = get_config(path).model
    model.update(type=algorithm, teacher_ckpt=None)
    for key in ('architecture', 'teacher'):
        model[key] = resolve_model_cfg(dict(model[key], downloads=False), key)
        model[key].data_preprocessor.size = size
    model.teacher.backbone.depth = teacher_depth
    return model


def make_batch(batch: int, size: int) -> dict:
    """Random images and labels, as a dataloader collates them."""
    from mmseg.structures import SegDataSample
    samples = []
    for _ in range(batch):
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 19, (1, size, size))))
        sample.set_metainfo(dict(img_shape=(size, size), ori_shape=(size, size)))
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(batch)], data_samples=samples)


def main(argv: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--teacher-depth', type=int, default=50, choices=(50, 101), help='ResNet depth of the teacher')
    parser.add_argument('--size', type=int, default=192, help='height and width of the images in pixels')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--repeats', type=int, default=10, help='steps of each algorithm, after two to warm up')
    args = parser.parse_args(argv)
    warnings.filterwarnings('ignore')
    DefaultScope.get_instance('benchmark', scope_name='mmseg')
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    models, wrappers, times = {}, {}, {}
    for name in ('FrozenTeacherDistill', 'mmrazor.SingleTeacherDistill'):
        torch.manual_seed(0)
        model = MODELS.build(Config(dict(model=recipe(name, args.teacher_depth, (args.size, args.size)))).model)
        if device.type == 'cpu':
            from mmengine.model import revert_sync_batchnorm
            model = revert_sync_batchnorm(model)
        models[name] = model.to(device)
        models[name].train()
        wrappers[name] = OptimWrapper(torch.optim.SGD(models[name].parameters(), lr=0.01, momentum=0.9))
        times[name] = []
    for step in range(args.repeats + 2):
        data = make_batch(args.batch, args.size)
        for name, model in models.items():
            if device.type == 'cuda':
                torch.cuda.synchronize()
            start = time.perf_counter()
            model.train_step(copy.deepcopy(data), wrappers[name])
            if device.type == 'cuda':
                torch.cuda.synchronize()
            if step >= 2:
                times[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(times[name]) for name in models)
    print(f'CWD recipe, PSPNet R{args.teacher_depth} -> R18, {args.batch} x {args.size} x {args.size}, {device}, '
          f'{torch.get_num_threads()} threads, median of {args.repeats} alternating steps')
    for name, values in times.items():
        print(f'  {name:30s} {statistics.median(values):.3f} s  ({min(values):.3f} - {max(values):.3f})')
    print(f'  ratio {ours / theirs:.2f}')
    return ours / theirs


if __name__ == '__main__':
    main()
