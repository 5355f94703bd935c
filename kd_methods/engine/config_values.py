"""Values of a run's config, checked before its data and its networks are touched.

Each key is held against what reads it: mmengine's Runner, PyTorch's DataLoader, and the classes that the
types of its parts name. What cannot be told without building a part is told when it is built, with the config
key, by :class:`~kd_methods.engine.named_runner.NamedRunner`.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    DefaultScope,
    Registry,
)
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop, get_priority
from mmengine.utils import is_installed
from torch.distributed import init_process_group
from torch.nn import utils as clipping
from torch.utils.data import DataLoader

from kd_methods.compat.family import check_installed
from kd_methods.networks.config import check_network_values, is_distillation, resolve_model_cfg
from kd_methods.utils.options import Bounds, Count, NonNegative, Option, check_names
from kd_methods.utils.parts import LIST, OTHER, TEXT, check_kinds, check_part, find_type, kind_of, walk
from kd_methods.utils.text import constructor_arguments, did_you_mean

Whole = Annotated[int, Bounds(0)]
Level = Literal['NOTSET', 'DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL']

#: Plain values by the key that holds them; '' for the config itself.
OPTIONS: dict[str, dict[str, Any]] = {
    '': dict(resume=bool, default_scope=str | None, experiment_name=str | None, find_unused_parameters=bool),
    'randomness': dict(seed=Whole | None, deterministic=bool, diff_rank_seed=bool),
    'env_cfg': dict(cudnn_benchmark=bool, resource_limit=Count),
    'env_cfg.mp_cfg': dict(mp_start_method=Literal['fork', 'spawn', 'forkserver'], opencv_num_threads=Whole),
    'env_cfg.dist_cfg': dict(backend=str, timeout=NonNegative, port=int | str),
    'auto_scale_lr': dict(enable=bool, base_batch_size=Count),
}
LOADER: dict[str, Any] = dict(
    batch_size=Count, num_workers=Whole, timeout=NonNegative, prefetch_factor=Count | None
)
LOADER |= dict.fromkeys(('persistent_workers', 'pin_memory', 'drop_last', 'disable_subprocess_warning'), bool)
LOADER |= dict(num_batch_per_epoch=Count | None)
#: Of arguments of parts, where the annotation of the class says less.
LOOP = dict(max_iters=Count, max_epochs=Count, val_interval=Count, val_begin=Whole)
OPTIMIZER = dict(lr=NonNegative, weight_decay=NonNegative, momentum=NonNegative)
SCHEDULER = dict(begin=Whole, end=Count, power=NonNegative, eta_min=NonNegative)
CLIPPING = dict(max_norm=NonNegative, norm_type=NonNegative, clip_value=NonNegative)
#: Parts by their key: registry, default type, options.
SINGLE: dict[str, tuple] = dict(
    log_processor=(LOG_PROCESSORS, 'LogProcessor', dict(window_size=Count)),
    visualizer=(VISUALIZERS, 'Visualizer', None),
)
#: What the builders of parts read themselves.
READ = {HOOKS: ('priority',), PARAM_SCHEDULERS: ('convert_to_iter_based',)}


def check_values(cfg: Config, *splits: str) -> None:
    """Check the values of a run's config.

    Args:
        cfg (Config): The config.
        *splits (str): Which of 'train', 'val', 'test' the run reads.

    Raises:
        TypeError: A value is of another type than its key takes.
        ValueError: It is out of bounds, or not among the choices.
        KeyError: A type or an argument that does not exist.
    """
    _check_plain(cfg)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        if cfg.get('data_preprocessor') is not None:
            _part('data_preprocessor', cfg.data_preprocessor, MODELS)
        for split in splits:
            _check_split(cfg, split)
        if 'train' in splits:
            if cfg.get('optim_wrapper') is not None:
                _check_optimizer(cfg.optim_wrapper)
            _each('param_scheduler', cfg.get('param_scheduler'), PARAM_SCHEDULERS, bounds=SCHEDULER)
        _check_hooks(cfg)
        for key, (registry, default, bounds) in SINGLE.items():
            if cfg.get(key) is not None:
                part = _dict(key, cfg[key])
                part = {'type': default, **part} if isinstance(part, Mapping) else part
                _part(key, part, registry, bounds=bounds)
        backends = (cfg.get('visualizer') or {}).get('vis_backends')
        if backends is not None:
            _each('visualizer.vis_backends', backends, VISBACKENDS)
        for key, network in _networks(cfg):
            check_network_values(network, key)


def _networks(cfg: Config) -> Iterator[tuple[str, Any]]:
    """The network of a config, or its student and its teacher, whole, and the preprocessor around them."""
    model = cfg.get('model')
    if isinstance(cfg.get('data_preprocessor'), Mapping):
        yield 'data_preprocessor', cfg.data_preprocessor
    if not is_distillation(cfg):
        yield 'model', model
        return
    if isinstance(model.get('data_preprocessor'), Mapping):
        yield 'model.data_preprocessor', model.data_preprocessor
    for name in ('architecture', 'teacher'):
        if isinstance(model.get(name), dict):
            yield f'model.{name}', resolve_model_cfg(model[name], f'model.{name}')


def _check_plain(cfg: Config) -> None:
    """Values that are plain data, and those that are nowhere right."""
    for where, options in OPTIONS.items():
        part: Any = cfg
        for i, name in enumerate(where.split('.') if where else ()):
            part = _dict('.'.join(where.split('.')[: i + 1]), part.get(name) or {})
        for name, annotation in options.items():
            if name in part:
                Option.read(annotation).check(where or 'CONFIG', name, part[name])
    for key in ('randomness', 'env_cfg', 'default_hooks'):
        if key in cfg:
            _dict(key, cfg[key])
    check_names('randomness:', cfg.get('randomness') or {}, set(OPTIONS['randomness']))
    env = cfg.get('env_cfg') or {}
    check_names('env_cfg.mp_cfg:', env.get('mp_cfg') or {}, set(OPTIONS['env_cfg.mp_cfg']))
    known = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
    for name in env:
        if name not in known and did_you_mean(name, known):
            raise KeyError(f'env_cfg.{name}: there is no such key.{did_you_mean(name, known)}')
    group = {*OPTIONS['env_cfg.dist_cfg'], 'init_backend', *inspect.signature(init_process_group).parameters}
    check_names('env_cfg.dist_cfg:', env.get('dist_cfg') or {}, group)
    for key in ('load_from', 'work_dir'):
        if cfg.get(key) is not None and not isinstance(cfg[key], str):
            raise TypeError(f'CONFIG: {key} must be a path. Got: {cfg[key]!r}')
    level = cfg.get('log_level', 'INFO')
    if level not in Level.__args__ and not isinstance(level, int):
        raise ValueError(f'CONFIG: log_level must be one of {list(Level.__args__)}. Got: {level!r}')
    entries = {k: v for k, v in cfg.items() if isinstance(k, str)}
    check_installed(entries)
    scope = cfg.get('default_scope')
    if scope is not None and not is_installed(scope):
        hint = did_you_mean(scope, ('mmengine', 'mmseg', 'mmdet', 'mmrazor'))
        raise ValueError(f'CONFIG: default_scope={scope!r} is no package that is installed.{hint}')
    unread = ('metainfo', 'classes')
    for key, value in walk(entries, ''):
        if isinstance(value, float) and value != value:
            raise ValueError(f'{key} is nan (not a number).')
        if value in ('True', 'False', 'true', 'false') and not any(part in unread for part in key.split('.')):
            raise TypeError(f'{key}={value!r} is a string. Write {value.title()}, without quotes.')


def _check_split(cfg: Config, split: str) -> None:
    """The loader, the loop and the metrics of a split."""
    names = [f'{split}_dataloader', f'{split}_cfg'] + [f'{split}_evaluator'] * (split != 'train')
    missing = [name for name in names if cfg.get(name) is None]
    if split != 'train' and missing and len(missing) < len(names):
        given = [name for name in names if name not in missing]
        raise ValueError(
            f'CONFIG: {given[0]} is given, but no {" and no ".join(missing)}: give all or none of {names}.'
        )
    if names[0] not in missing and isinstance(_dict(names[0], cfg[names[0]]), Mapping):
        _check_loader(names[0], cfg[names[0]])
    if names[1] not in missing and isinstance(_dict(names[1], cfg[names[1]]), Mapping):
        loop = dict(cfg[names[1]])
        if split != 'train':
            loop.setdefault('type', f'{split.title()}Loop')
        elif 'type' not in loop:
            if not isinstance(loop.get('by_epoch'), bool):
                raise ValueError(f"train_cfg: give a type, such as 'IterBasedTrainLoop'. Got: {loop}")
            loop['type'] = f'{"Epoch" if loop.pop("by_epoch") else "Iter"}BasedTrainLoop'
        cls = find_type(names[1], loop, LOOPS)
        others = (ValLoop, TestLoop) if split == 'train' else (EpochBasedTrainLoop, IterBasedTrainLoop)
        if isinstance(cls, type) and issubclass(cls, others):
            raise ValueError(f'{names[1]}.type: {cls.__name__} is no loop for {split}.')
        _part(names[1], loop, LOOPS, bounds=LOOP)
    if split != 'train' and not missing:
        evaluator = cfg[names[2]]
        if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
            _part(names[2], {'type': 'Evaluator', **evaluator}, EVALUATOR)
            _each(f'{names[2]}.metrics', evaluator['metrics'], METRICS)
        elif not evaluator:
            raise ValueError(
                f'{names[2]} must be a metric, dict(type=...), or a list of them. Got: {evaluator!r}'
            )
        else:
            _each(names[2], evaluator, METRICS)


def _check_loader(key: str, loader: Mapping) -> None:
    known = {*inspect.signature(DataLoader).parameters, *LOADER}
    check_names(f'{key}:', loader, known)
    for name in ('dataset', 'sampler'):
        if loader.get(name) is None:
            example = 'SceneDataset' if name == 'dataset' else 'DefaultSampler'
            raise KeyError(f"{key}.{name} is missing, e.g. {name}=dict(type='{example}', ...).")
    for name, annotation in LOADER.items():
        if name in loader:
            Option.read(annotation).check(key, name, loader[name])
    if loader.get('persistent_workers') and not loader.get('num_workers'):
        raise ValueError(f'{key}.persistent_workers=True needs num_workers of 1 or more.')
    if loader.get('prefetch_factor') is not None and not loader.get('num_workers'):
        raise ValueError(f'{key}.prefetch_factor needs num_workers of 1 or more.')
    for name in ('sampler', 'batch_sampler'):
        if loader.get(name) is not None:
            _part(f'{key}.{name}', loader[name], DATA_SAMPLERS)
    collate = loader.get('collate_fn')
    if collate is not None and not callable(collate):
        _part(f'{key}.collate_fn', collate, FUNCTIONS)
    _check_dataset(f'{key}.dataset', loader['dataset'])
    steps = [k for k, v in walk(loader['dataset'], f'{key}.dataset') if re.search(r'pipeline\.\d+(\.|$)', k)]
    kinds = [v for k, v in walk(loader['dataset'], f'{key}.dataset') if k in steps and k.endswith('.type')]
    if steps and not any('Pack' in getattr(kind, '__name__', str(kind)) for kind in kinds):
        raise ValueError(f'{key}.dataset.pipeline packs nothing: end it with PackSegInputs or PackDetInputs.')


def _check_dataset(key: str, cfg: Any) -> None:
    _part(key, cfg, DATASETS)
    if not isinstance(cfg, Mapping):
        return
    if 'pipeline' in cfg:
        inside = any(name in cfg for name in ('dataset', 'datasets'))
        if not isinstance(cfg['pipeline'], (list, tuple)) or not (cfg['pipeline'] or inside):
            example = "[dict(type='LoadImageFromFile'), ...]"
            raise TypeError(
                f'{key}.pipeline must be a list of transforms, {example}. Got: {cfg["pipeline"]!r}'
            )
        for i, step in enumerate(cfg['pipeline']):
            if not callable(step):
                _part(f'{key}.pipeline.{i}', step, TRANSFORMS)
    classes = cfg['metainfo'].get('classes') if isinstance(cfg.get('metainfo'), Mapping) else None
    if classes is not None and kind_of(classes) not in (TEXT, LIST):
        raise TypeError(f'{key}.metainfo.classes must be a list of names. Got: {classes!r}')
    for key_, value in walk(cfg.get('data_prefix') or {}, f'{key}.data_prefix'):
        if isinstance(value, (bool, int, float)):
            raise TypeError(f'{key_} must be the path of a folder. Got: {value!r}')
    if isinstance(cfg.get('dataset'), Mapping):
        _check_dataset(f'{key}.dataset', cfg['dataset'])
    for i, inner in enumerate(cfg['datasets'] if isinstance(cfg.get('datasets'), (list, tuple)) else ()):
        _check_dataset(f'{key}.datasets.{i}', inner)


def _check_optimizer(cfg: Any) -> None:
    """An optimizer wrapper; several of them, and those that another constructor makes, are its matter."""
    wrapper = _dict('optim_wrapper', cfg)
    if not isinstance(wrapper, Mapping) or 'constructor' in wrapper:
        return
    if 'optimizer' not in wrapper:
        if not wrapper or 'type' in wrapper or any(kind_of(value) != OTHER for value in wrapper.values()):
            example = "optimizer=dict(type='SGD', lr=0.01)"
            raise KeyError(f'optim_wrapper.optimizer is missing, e.g. {example}. Given: {sorted(wrapper)}')
        return
    extra = ('constructor', 'paramwise_cfg')
    full = {'type': 'OptimWrapper', **wrapper}
    _part('optim_wrapper', full, OPTIM_WRAPPERS, extra, dict(accumulative_counts=Count))
    _part('optim_wrapper.optimizer', wrapper['optimizer'], OPTIMIZERS, bounds=OPTIMIZER)
    for name in ('paramwise_cfg', 'clip_grad'):
        if wrapper.get(name) is not None:
            _dict(f'optim_wrapper.{name}', wrapper[name])
    paramwise = wrapper.get('paramwise_cfg') or {}
    _dict('optim_wrapper.paramwise_cfg.custom_keys', paramwise.get('custom_keys', {}))
    for key, value in walk(paramwise, 'optim_wrapper.paramwise_cfg'):
        where, _, name = key.rpartition('.')
        if name.endswith('_mult'):
            Option.read(float).check(where, name, value)
    clip = wrapper.get('clip_grad') or {}
    if clip.get('type', 'norm') not in ('norm', 'value'):
        raise ValueError(f"optim_wrapper.clip_grad.type must be 'norm' or 'value'. Got: {clip['type']!r}")
    function = getattr(clipping, f'clip_grad_{clip.get("type", "norm")}_')
    check_names(
        'optim_wrapper.clip_grad:', clip, {*inspect.signature(function).parameters, 'type'} - {'parameters'}
    )
    for name, annotation in CLIPPING.items():
        if name in clip:
            Option.read(annotation).check('optim_wrapper.clip_grad', name, clip[name])


def _check_hooks(cfg: Config) -> None:
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            _check_hook(f'default_hooks.{name}', hook)
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not isinstance(hooks, (list, tuple)):
        raise TypeError(f'custom_hooks must be a list of hooks, [dict(type=...), ...]. Got: {hooks!r}')
    for i, hook in enumerate(hooks or ()):
        _check_hook(f'custom_hooks.{i}', hook)


def _check_hook(key: str, hook: Any) -> None:
    cls = _part(key, hook, HOOKS, bounds=dict(interval=int))
    if isinstance(cls, type) and issubclass(cls, EMAHook):  # what it does not know is the average's
        average = find_type(key, dict(type=hook.get('ema_type', 'ExponentialMovingAverage')), MODELS)
        known = {*constructor_arguments(cls)[0], *constructor_arguments(average)[0]}
        check_names(f'{key}:', hook, known | {'type', 'priority', '_scope_'})
        check_kinds(key, hook, average)
    if isinstance(cls, type) and issubclass(
        cls, CheckpointHook
    ):  # it passes what it does not know on to this
        known = {*constructor_arguments(cls)[0], *inspect.signature(Runner.save_checkpoint).parameters}
        check_names(f'{key}:', hook, known | {'type', 'priority', '_scope_'})
    if isinstance(hook, Mapping) and 'priority' in hook:
        try:
            get_priority(hook['priority'])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            example = "0 to 100, or a name such as 'NORMAL'"
            raise ValueError(f'{key}.priority must be {example}. Got: {hook["priority"]!r}') from error


def _each(key: str, parts: Any, registry: Registry, **options: Any) -> None:
    """A part, a list of parts, or a dict of either by name."""
    if isinstance(parts, (list, tuple)):
        for i, part in enumerate(parts):
            _each(f'{key}.{i}' if len(parts) > 1 else key, part, registry, **options)
    elif isinstance(parts, Mapping) and 'type' not in parts and registry is PARAM_SCHEDULERS and parts:
        for name, part in parts.items():
            if not isinstance(part, (Mapping, list, tuple)) and kind_of(part) != OTHER:
                raise TypeError(f'{key}: expected a dict with a type. Got: {parts!r}')
            _each(f'{key}.{name}', part, registry, **options)
    elif parts is not None or registry is not PARAM_SCHEDULERS:
        _part(key, parts, registry, **options)


def _part(
    key: str, cfg: Any, registry: Registry, extra: tuple = (), bounds: Mapping[str, Any] | None = None
) -> Callable | None:
    return check_part(key, cfg, registry, (*extra, *READ.get(registry, ())), bounds)


def _dict(key: str, value: Any) -> Any:
    if not isinstance(value, Mapping) and kind_of(value) != OTHER:
        raise TypeError(f'{key} must be a dict. Got: {value!r}')
    return value
