"""Tiny networks, tiny runs and ways to start a tool, for the tests."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
SIZE = 64
sys.path.append(str(ROOT / 'tools'))  # for entry.py, which the tools import


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module, so that a test need not start a process."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tiny_model(width: int = 8, norm: str = 'SyncBN', dropout: float = 0.1) -> dict:
    """PSPNet on an R18 of `width` channels, with an auxiliary head: about 0.2 M parameters at 8."""
    norm_cfg = dict(type=norm, requires_grad=True)
    if norm == 'GN':
        norm_cfg['num_groups'] = 2
    head = dict(num_classes=11, norm_cfg=norm_cfg, align_corners=False, dropout_ratio=dropout)
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=255,
            size=(SIZE, SIZE),
        ),
        backbone=dict(
            type='ResNetV1c',
            depth=18,
            stem_channels=width,
            base_channels=width,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 2, 4),
            strides=(1, 2, 1, 1),
            norm_cfg=norm_cfg,
            norm_eval=False,
            style='pytorch',
            contract_dilation=True,
        ),
        decode_head=dict(
            type='PSPHead',
            in_channels=8 * width,
            in_index=3,
            channels=2 * width,
            pool_scales=(1, 2),
            loss_decode=dict(type='CrossEntropyLoss'),
            **head,
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=4 * width,
            in_index=2,
            channels=width,
            num_convs=1,
            concat_input=False,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
            **head,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def tiny_segformer(embed: int = 8, classes: int = 11) -> dict:
    """SegFormer of one layer a stage, strides 4 to 32."""
    dims = [embed * heads for heads in (1, 2, 5, 8)]
    return dict(
        type='EncoderDecoder',
        data_preprocessor=tiny_model()['data_preprocessor'],
        backbone=dict(
            type='MixVisionTransformer',
            embed_dims=embed,
            num_layers=[1, 1, 1, 1],
            num_heads=[1, 2, 5, 8],
            patch_sizes=[7, 3, 3, 3],
            sr_ratios=[8, 4, 2, 1],
        ),
        decode_head=dict(
            type='SegformerHead',
            in_channels=dims,
            in_index=[0, 1, 2, 3],
            channels=16,
            dropout_ratio=0.0,
            num_classes=classes,
            norm_cfg=dict(type='BN'),
            align_corners=False,
        ),
        test_cfg=dict(mode='whole'),
    )


def tiny_beit(side: int = SIZE) -> dict:
    """A segmentor whose backbone takes images of one size alone."""
    model = tiny_model()
    model['backbone'] = dict(
        type='BEiT',
        img_size=(side, side),
        patch_size=16,
        embed_dims=16,
        num_layers=1,
        num_heads=2,
        out_indices=(0,),
        qv_bias=True,
    )
    model['decode_head'].update(in_channels=16, in_index=0)
    model['data_preprocessor'] = dict(model['data_preprocessor'], size=(side, side))
    return dict(model, auxiliary_head=None)


def tiny_mask2former() -> dict:
    """mmseg's Mask2Former, small: its head cannot do without data samples."""
    attention = dict(embed_dims=16, num_heads=2)
    layer = dict(self_attn_cfg=attention, ffn_cfg=dict(embed_dims=16, feedforward_channels=16))
    return dict(
        cfg_path='mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        data_preprocessor=dict(size=(SIZE, SIZE)),
        backbone=dict(_delete_=True, **tiny_model(8, 'BN')['backbone']),
        decode_head=dict(
            in_channels=[8, 16, 32, 64],
            feat_channels=16,
            out_channels=16,
            num_classes=11,
            num_queries=4,
            pixel_decoder=dict(
                norm_cfg=dict(num_groups=4),
                encoder=dict(num_layers=1, layer_cfg=layer),
                positional_encoding=dict(num_feats=8),
            ),
            positional_encoding=dict(num_feats=8),
            transformer_decoder=dict(num_layers=1, layer_cfg=dict(layer, cross_attn_cfg=attention)),
            loss_cls=dict(class_weight=[1.0] * 11 + [0.1]),
            train_cfg=dict(num_points=64),
        ),
    )


def tiny_distillation(teacher: SimpleNamespace, **kwargs) -> dict:
    """A distillation model: a trained tiny network teaches one of half its width.

    A loss on the logits, and one on features behind an adapter.

    Args:
        teacher (SimpleNamespace): With `config` and `checkpoint`.
        **kwargs: Replace keys of the model.
    """

    def both(tap: str, **student) -> dict:
        return dict(
            preds_S=dict(recorder=tap, from_student=True, **student),
            preds_T=dict(recorder=tap, from_student=False),
        )

    cwd = dict(type='mmrazor.ChannelWiseDivergence', tau=1.0, loss_weight=1.0)
    distiller = dict(
        type='MethodDistiller',
        taps=dict(logits='logits', feature='backbone.3'),
        connectors=dict(adapter=dict(type='mmrazor.ConvModuleConnector', in_channel=32, out_channel=64)),
        distill_losses=dict(loss_logits=dict(cwd), loss_feature=dict(cwd)),
        loss_forward_mappings=dict(
            loss_logits=both('logits'), loss_feature=both('feature', connector='adapter')
        ),
    )
    return dict(
        dict(
            type='FrozenTeacherDistill',
            architecture=tiny_model(4),
            teacher=dict(cfg_path=str(teacher.config)),
            teacher_ckpt=str(teacher.checkpoint),
            distiller=distiller,
            dry_run_size=(SIZE, SIZE),
        ),
        **kwargs,
    )


def tiny_run(scenes: Path, iters: int = 4, batch_size: int = 2) -> dict:
    """Everything of a config but its model: loaders, schedule, hooks."""

    def loader(split: str, batch: int, pipeline: list, **kwargs) -> dict:
        return dict(
            batch_size=batch,
            num_workers=0,
            persistent_workers=False,
            dataset=dict(
                type='SceneDataset',
                data_root=str(scenes),
                pipeline=pipeline,
                data_prefix=dict(img_path=f'{split}/images', seg_map_path=f'{split}/labels'),
            ),
            **kwargs,
        )

    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    train = load + [dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]
    val = loader(
        'val', 1, load + [dict(type='PackSegInputs')], sampler=dict(type='DefaultSampler', shuffle=False)
    )
    metric = dict(type='IoUMetric', iou_metrics=['mIoU'])
    return dict(
        default_scope='mmseg',
        train_dataloader=loader(
            'train', batch_size, train, sampler=dict(type='InfiniteSampler', shuffle=True)
        ),
        val_dataloader=val,
        test_dataloader=val,
        val_evaluator=metric,
        test_evaluator=metric,
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=iters, val_interval=iters),
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        param_scheduler=[dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=100, by_epoch=False)],
        default_hooks=dict(
            timer=dict(type='IterTimerHook'),
            logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
            param_scheduler=dict(type='ParamSchedulerHook'),
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iters),
            sampler_seed=dict(type='DistSamplerSeedHook'),
            visualization=dict(type='SegVisualizationHook'),
        ),
        env_cfg=dict(
            cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl')
        ),
        log_processor=dict(by_epoch=False, window_size=1),
        visualizer=dict(
            type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
        ),
        randomness=dict(seed=0),
        load_from=None,
        resume=False,
        verify_export=False,  # a process that imports everything anew takes longer than the run
    )


def free_port() -> str:
    """A port that nothing listens on."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return str(s.getsockname()[1])


def run_script(*command: str | Path, **env: str) -> subprocess.CompletedProcess:
    """Run a command in the repository's root with this Python; its output is captured as text."""
    env = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **env}
    return subprocess.run(
        [str(c) for c in command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
    )


def write_config(path: Path, cfg: dict) -> Path:
    """Write a dict as a config file."""
    from mmengine.config import Config

    path.parent.mkdir(parents=True, exist_ok=True)
    Config(cfg).dump(str(path))
    return path


def build_distillation(architecture: dict, distiller: dict, teacher: dict | None = None, **algorithm):
    """A built FrozenTeacherDistill in training mode, taught by `tiny_model(8)` or another; one seed."""
    import torch
    from mmengine.registry import MODELS

    torch.manual_seed(0)
    cfg = dict(
        type='FrozenTeacherDistill',
        architecture=architecture,
        teacher=teacher or tiny_model(8, 'BN'),
        distiller=distiller,
        dry_run_size=(SIZE, SIZE),
        **algorithm,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='model.teacher_ckpt is not set')
        return MODELS.build(copy.deepcopy(cfg)).train()


def losses_of(model, batch: dict) -> dict:
    """The losses of one forward, as a training step computes them; the batch stays as it is."""
    return model(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')


def attention_pool_state(channels: int, out: int, side: int = 3, prefix: str = '') -> dict:
    """Tensors of the attention pool of a CLIP ResNet, under CLIP's names."""
    import torch

    g = torch.Generator().manual_seed(0)
    state = {'positional_embedding': torch.randn(side * side + 1, channels, generator=g)}
    for name in 'qkvc':
        rows = out if name == 'c' else channels
        state[f'{name}_proj.weight'] = torch.randn(rows, channels, generator=g) / channels**0.5
        state[f'{name}_proj.bias'] = torch.randn(rows, generator=g)
    return {prefix + name: value for name, value in state.items()}


def logit_scene(seed=0, n=2, size=6, classes=5, dtype=None, ignored=0.2):
    """Logits of student (with a gradient) and teacher, and a label with some 255, -1 and `classes`."""
    import torch

    g = torch.Generator().manual_seed(seed)
    S, T = 2 * torch.randn(2, n, classes, size, size, generator=g, dtype=torch.float64)
    label = torch.randint(0, max(classes, 2), (n, size, size), generator=g)
    where = torch.rand(label.shape, generator=g)
    for value, share in ((255, 1), (-1, 0.6), (max(classes, 2), 0.3)):
        label = label.masked_fill(where < share * ignored, value)
    return S.to(dtype or torch.float64).requires_grad_(), T.to(dtype or torch.float64), label


def stock_report(work_dir: Path, images: list[Path], out: Path, package: str = 'mmseg') -> dict:
    """What stock mmseg or mmdet, in a process without this project, makes of the student of a run."""
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    script, listing = ROOT / f'tests/hooks/stock_{package}.py', json.dumps(sorted(map(str, images)))
    files = [work_dir / 'student_config.py', work_dir / 'best.pth', listing, out]
    command = [sys.executable, '-W', 'ignore', script, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
