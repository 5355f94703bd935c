"""What each process of test_ddp.py does: `dist_run.py ... ddp_worker.py RESULT_FILE`.

Both processes build the same networks and have half of the same batch each. Rank 0 writes what it saw.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import torch
import torch.distributed as dist

sys.path[:0] = [str(Path(__file__).resolve().parents[i]) for i in (2, 1)]

from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402
from toys import SIZE, tiny_model  # noqa: E402

import kd_methods  # noqa: E402, F401
from kd_methods.engine.launch import CPUDistributedDataParallel  # noqa: E402

#: A Swin whose output norms 0 and 1 are used by no head, as wide as the networks here.
SWIN = dict(
    type='SwinTransformer',
    embed_dims=4,
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 1, 1),
    window_size=2,
    pretrain_img_size=SIZE,
    drop_path_rate=0.3,
)
TAPS = dict(logits='logits', feature='backbone.3')


def both(tap: str, connector: str | None = None) -> dict:
    """Where CWD's two arguments come from."""
    student = dict(recorder=tap, from_student=True)
    if connector:
        student['connector'] = connector
    return dict(preds_S=student, preds_T=dict(recorder=tap, from_student=False))


def build(
    norm: str = 'GN',
    logits: dict | None = None,
    feature: dict | None = None,
    schedules: dict | None = None,
    distiller: dict | None = None,
    backbone: dict | None = None,
    **kwargs,
) -> BaseModel:
    """A distillation model in float64: one loss on the logits, one on features behind an adapter.

    Args:
        norm (str): Type of the norm layers. Defaults to 'GN'.
        logits (dict, optional): Overrides of the first loss. Defaults to None.
        feature (dict, optional): Overrides of the second loss. Defaults to None.
        schedules (dict, optional): `loss_schedules`. Defaults to None.
        backbone (dict, optional): The student's. Defaults to None.
        distiller (dict, optional): One in place of these losses. Defaults to None.
        **kwargs: Of the algorithm.
    """
    cwd = dict(type='mmrazor.ChannelWiseDivergence', tau=1.0, loss_weight=1.0)
    torch.manual_seed(0)
    student = tiny_model(4, norm, dropout=0.0)
    student['backbone'] = backbone or student['backbone']
    model = MODELS.build(
        dict(
            type='FrozenTeacherDistill',
            architecture=student,
            teacher=tiny_model(8, norm, dropout=0.0),
            distiller=distiller
            or dict(
                type='MethodDistiller',
                taps=TAPS,
                connectors=dict(
                    adapter=dict(type='mmrazor.ConvModuleConnector', in_channel=32, out_channel=64)
                ),
                distill_losses=dict(
                    loss_logits={**cwd, **(logits or {})}, loss_feature={**cwd, **(feature or {})}
                ),
                loss_forward_mappings=dict(
                    loss_logits=both('logits'), loss_feature=both('feature', 'adapter')
                ),
                loss_schedules=schedules,
            ),
            dry_run_size=(SIZE, SIZE),
            **kwargs,
        )
    )
    return model.double().train()


def make_batch(images: int = 4) -> tuple[torch.Tensor, list]:
    """Images and labels without ignored pixels, so that all halves count alike."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(images, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 11, (images, 1, SIZE, SIZE), generator=generator)
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return inputs, samples


def backward(model: torch.nn.Module, module: BaseModel, inputs: torch.Tensor, samples: list) -> dict:
    """One forward and backward; returns what would be logged."""
    loss, logged = module.parse_losses(model(inputs, samples, mode='loss'))
    loss.backward()
    return {name: float(value.detach()) for name, value in logged.items()}


def gradients(model: BaseModel) -> dict[str, torch.Tensor]:
    """A copy of all gradients by parameter name."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare_gradients(rank: int) -> dict:
    """Gradients of the whole batch in one process, and of two halves in two."""
    inputs, samples = make_batch()
    alone = build()
    backward(alone, alone, inputs, samples)
    whole = gradients(alone)
    module = build()
    ddp = CPUDistributedDataParallel(module, find_unused_parameters=False)
    mine = slice(2 * rank, 2 * rank + 2)
    backward(ddp, module, inputs[mine], samples[mine])
    return dict(whole=whole, halves=gradients(module), wrapped=[name for name, _ in ddp.named_parameters()])


def survive(rank: int, ignored: bool = False, **kwargs) -> dict:
    """Four steps of SGD on different data with `find_unused_parameters=False`."""
    inputs, samples = make_batch()
    module = build(**kwargs)
    ddp = CPUDistributedDataParallel(module, find_unused_parameters=False)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    mine = slice(2 * rank, 2 * rank + 2)
    if ignored and rank == 1:
        for sample in samples[mine]:
            sample.gt_sem_seg.data.fill_(255)
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    logged = []
    for _ in range(4):
        optimizer.zero_grad()
        logged.append(backward(ddp, module, inputs[mine], samples[mine]))
        optimizer.step()
    spread, moved = {}, []
    for name, parameter in module.named_parameters():
        other = parameter.detach().clone()
        dist.broadcast(other, 0)
        spread[name] = float((other - parameter).abs().max())
        if not torch.equal(before[name], parameter):
            moved.append(name)
    worst = torch.tensor(max(spread.values()), dtype=torch.float64)
    dist.all_reduce(worst, op=dist.ReduceOp.MAX)
    return dict(
        logged=logged,
        apart=float(worst),
        moved=moved,
        auto={n: float(a.weight()) for n, a in module.weights.auto.items()},
        norms=[type(m).__name__ for m in module.modules() if 'BatchNorm' in type(m).__name__],
    )


def main(result: str) -> None:
    """Run everything and write what rank 0 saw."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=60))
    rank = dist.get_rank()
    seen = {}
    with DefaultScope.overwrite_default_scope('mmseg'):
        seen['gradients'] = compare_gradients(rank)
        seen['schedule over'] = survive(rank, schedules=dict(loss_feature=dict(end=2)))
        seen['all schedules over'] = survive(
            rank, schedules=dict(loss_feature=dict(end=2), loss_logits=dict(end=1))
        )
        seen['weight 0'] = survive(rank, feature=dict(loss_weight=0.0))
        seen['no student loss'] = survive(rank, calculate_student_loss=False)
        seen['auto weight'] = survive(rank, feature=dict(loss_weight=dict(type='auto', iters=2)))
        seen['one rank ignored'] = survive(rank, ignored=True)
        seen['SyncBN'] = survive(rank, norm='SyncBN')
        seen['with_cp'] = survive(
            rank, backbone=dict(SWIN, with_cp=True), feature=dict(loss_weight=dict(type='auto', iters=2))
        )
        seen['C2VKD'] = survive(rank, distiller=dict(type='C2VKDDistiller'))
        off = dict(global_weight=0.0, patch_weight=0.0, linguistic_weight=0.0)
        seen['C2VKD, no VLFD'] = survive(rank, distiller=dict(type='C2VKDDistiller', vlfd=off))
    if rank == 0:
        torch.save(seen, result)
    dist.destroy_process_group()


if __name__ == '__main__':
    main(sys.argv[1])
