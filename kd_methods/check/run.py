"""The check itself: build, look, run one step, judge."""

import contextlib
import logging
import os
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed

from kd_methods.check import judge, sections
from kd_methods.check.batch import (
    config_size,
    dataset_classes,
    largest_label,
    planned_iterations,
    real_batch,
    synthetic_batch,
)
from kd_methods.check.networks import plain_network, segmentation_quality, skip_downloads
from kd_methods.check.step import run_step
from kd_methods.check.tap_list import describe_places
from kd_methods.check.validation import judge_validation
from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.engine.config_values import check_values
from kd_methods.engine.first_batch import Lone, judge_first_batch, lone_images
from kd_methods.engine.launch import fit_to_device
from kd_methods.networks.config import build_network, is_distillation
from kd_methods.networks.heads import class_count, ignored_label
from kd_methods.utils.errors import naming
from kd_methods.utils.report import Report


def check_config(
    cfg: Config,
    title: str,
    no_data: bool = False,
    batch_size: int | None = None,
    size: tuple[int, int] | None = None,
    live: bool = False,
) -> Report:
    """Check a config: build its networks, run one training step in memory, and report.

    Nothing is written to disk. The report's ``exit_code`` is 1 where something is wrong.

    Args:
        cfg (Config): A distillation config or a plain one.
        title (str): Its name.
        no_data (bool): Use a batch of noise. Defaults to False.
        batch_size (int | None): Images in the batch. Defaults to None: the config's.
        size (tuple[int, int] | None): Height and width for FLOPs and for noise. Defaults to None: that of the
            batch, or the config's crop.
        live (bool): Print what is found when it is found. Defaults to False.
    """
    report = Report(live=live)
    check_values(cfg, 'train', 'val')
    _set_up(cfg)
    with _quiet() as messages:
        report.begin('building the networks')
        with naming('model', cfg.model):
            model = _build(cfg)
        report.begin('making a batch')
        student = model.student if isinstance(model, FrozenTeacherDistill) else model
        images = batch_size or (cfg.get('train_dataloader') or {}).get('batch_size', 2)
        lone = Lone('a batch of one image', 'Give --batch 2 or more') if images == 1 else None
        dataset = None
        if no_data:
            layout = getattr(model.data_preprocessor, 'layout', None)
            channels = layout.total if layout is not None else None
            batch = synthetic_batch(student, images, size or config_size(cfg, student), channels)
        else:
            with naming('train_dataloader', cfg.get('train_dataloader')):
                batch, loader = real_batch(cfg, batch_size, _seed(cfg))
            dataset = loader.dataset
            if batch_size is None:
                lone = lone_images(loader, (cfg.get('train_cfg') or {}).get('max_iters'))
        skipped = skip_downloads(model)
        if isinstance(model, FrozenTeacherDistill) and not model.teacher_ckpt:
            skipped += skip_downloads(model.teacher.model)
        with naming('model.init_cfg'):
            model.init_weights()
        model.to(get_device())
        lacking = judge_first_batch(model.train(), student, batch, lone)
        with naming('model.data_preprocessor'):
            data = model.data_preprocessor(batch, True)
        if cache := getattr(model, 'cache', None):
            if not no_data:
                cache.keys(data['data_samples'], ())
            model.cache = None  # nothing is written
        size = size or tuple(data['inputs'].shape[-2:])
        _judge(report, cfg, title, model, batch, data, dataset, size, lacking)
        if not no_data:
            report.begin('validating on one image')
            report.wrong += judge_validation(cfg, model, student, _seed(cfg))
    if skipped:
        names = ', '.join(skipped)
        report.notes.append(f'Weights that training starts from, but this check did not download: {names}.')
    report.notes += messages
    return report


def check_places(cfg: Config, size: tuple[int, int] | None = None) -> str:
    """All places of a config's networks that a tap can name. It needs neither data nor weights."""
    _set_up(cfg)
    keys = dict(student='architecture', teacher='teacher') if is_distillation(cfg) else dict(network=None)
    texts = []
    with _quiet():
        for role, key in keys.items():
            network = plain_network(cfg.model[key] if key else cfg.model, f'model.{key}' if key else 'model')
            size = size or config_size(cfg, network)
            texts.append(describe_places(network, role, size))
    return '\n\n'.join(texts)


def _judge(
    report: Report,
    cfg: Config,
    title: str,
    model: BaseModel,
    batch: dict,
    data: dict,
    dataset: Any,
    size: tuple[int, int],
    lacking: list[str],
) -> None:
    distilling = isinstance(model, FrozenTeacherDistill)
    data_name = type(dataset).__name__
    source = 'noise (--no-data)' if dataset is None else f'{data_name}, {len(dataset):,} images'
    shape = 'x'.join(map(str, data['inputs'].shape))
    kind = 'distillation' if distilling else 'plain'
    report.head(f'{title}\n{kind} config, on {get_device()}; batch {shape} from {source}')
    report.begin('counting multiply-adds')
    networks = dict(student=model.student, teacher=model.teacher.model) if distilling else dict(network=model)
    cfgs = dict(student=cfg.model.get('architecture'), teacher=cfg.model.get('teacher'), network=cfg.model)
    report.add('Networks', sections.networks(networks, cfgs, size, report.notes))

    classes = {name: class_count(network) for name, network in networks.items()}
    named = dataset_classes(dataset)
    first = 'student' if distilling else 'network'
    if named and classes[first] and named != classes[first]:
        key = f'model.{"architecture." if distilling else ""}decode_head.num_classes, ...'
        cure = f'set num_classes={named} in its heads ({key})'
        report.wrong.append(f'{data_name} has {named} classes, the {first} {classes[first]}: {cure}.')
    taught, known = classes.get('teacher'), classes.get('student')
    if taught and known and taught != known:
        why = 'a teacher of other classes has learnt another task. Take one that was trained on these labels.'
        report.wrong.append(f'The teacher has {taught} classes, the student {known}: {why}')
    ignored = ignored_label(networks[first])
    unfit = judge.judge_labels(largest_label(data.get('data_samples'), ignored), classes)
    report.wrong += unfit
    if distilling:
        report.begin('asking the teacher')
        quality = None
        if dataset is not None and not unfit:
            inputs = data.get('teacher_inputs', data['inputs'])
            network = model.teacher.model.eval()
            quality = segmentation_quality(network, inputs, data['data_samples'], ignored)
        trusted = cfg.model.get('teacher_ckpt_trusted', False)
        report.add('Teacher', sections.teacher(model, quality, trusted, report.wrong, report.notes))
        if model.teacher_ckpt:
            report.wrong += judge.judge_quality(quality)
    if unfit:
        report.wrong.append('No step was run, since these labels cannot be learnt.')
        return
    optimizer = cfg.get('optim_wrapper') or _DEFAULT_OPTIMIZER
    with naming('optim_wrapper', optimizer):
        optim_wrapper = build_optim_wrapper(model, optimizer)
    report.begin('one training step')
    step = run_step(model, batch, optim_wrapper)
    if step.error is not None and os.environ.get('KD_DEBUG', '0') not in ('', '0'):
        traceback.print_exception(step.error)
    if distilling:
        report.add('Taps', sections.taps(model, step, report.notes))
        report.add('Adapters', sections.adapters(model, step, report.wrong))
        report.add('Distillation losses', sections.losses(model, step, report.notes))
        report.wrong += judge.judge_losses(step, model.weights, planned_iterations(cfg, dataset))
    report.add('One training step', sections.step(step, report.notes))
    report.wrong += lacking
    if not (lacking and 'Expected more than 1' in str(step.error)):  # which is what they say
        report.wrong += judge.judge_step(step)


_DEFAULT_OPTIMIZER = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))


def _build(cfg: Config) -> BaseModel:
    model = cfg.model
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)  # mmengine's Runner does so
    if not is_distillation(cfg):
        return build_network(model, 'model')
    if MODELS.get(model.type) is not FrozenTeacherDistill:
        cure = "'FrozenTeacherDistill' takes its arguments: try --cfg-options model.type=FrozenTeacherDistill"
        raise ValueError(f'model.type: {model.type!r} is not checked here. {cure}.')
    return MODELS.build(model)


def _set_up(cfg: Config) -> None:
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    fit_to_device(cfg)
    set_random_seed(_seed(cfg))


def _seed(cfg: Config) -> int:
    seed = (cfg.get('randomness') or {}).get('seed')
    return 0 if seed is None else seed


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep logs and warnings away from the report; this project's own warnings are given back as notes."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        logger.setLevel(logging.ERROR)
        try:
            yield messages
        finally:
            logger.setLevel(level)
            for text in dict.fromkeys(str(w.message) for w in caught if _is_ours(w)):
                if 'teacher_ckpt is not set' not in text:  # judged by itself
                    messages.append(text)


def _is_ours(warning: warnings.WarningMessage) -> bool:
    path, folder = warning.filename, f'{os.sep}kd_methods{os.sep}'
    ours = folder in path and os.path.dirname(__file__) not in path
    return ours and issubclass(warning.category, UserWarning)
