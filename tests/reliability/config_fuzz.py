"""Broken configs: four valid ones of tiny runs, each with one key that is wrong, and what a tool makes of it.

Two kinds of mistakes: those that follow from a key's value (``'False'`` for a flag, a word for a number, nan,
a number for a list, a key or a type misspelt), made for every key of every config; and named ones, which make
sense for some keys alone.
"""

import copy
import random
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toys import ROOT, SIZE, tiny_model, tiny_run
from toys_det import tiny_detector

import kd_methods  # noqa: F401

GONE, MISSPELT = '<gone>', '<misspelt>'
nan, inf = float('nan'), float('inf')

#: Keys that no training run reads: whatever they say, it is not wrong.
UNREAD = {'test_dataloader', 'test_evaluator', 'test_cfg', 'load_from_trusted', 'custom_imports', 'launcher'}
#: What the teacher, which stops at the last tap, does not read.
UNREAD_OF_TEACHER = {
    'train_cfg',
    'test_cfg',
    'bbox_coder',
    'loss_cls',
    'loss_bbox',
    'loss_decode',
    'seg_pad_val',
}


@dataclass(frozen=True)
class Mistake:
    """One key of one config with a value that is wrong.

    Attributes:
        config (str): Name of the config.
        path (tuple): Keys and indices that lead to the value.
        value: What is put there; ``GONE`` removes the key, ``MISSPELT`` spells it wrongly.
    """

    config: str
    path: tuple
    value: Any

    def __str__(self) -> str:
        return f'{self.config}: {".".join(map(str, self.path))} = {self.value!r}'

    def apply(self, cfg: dict) -> dict:
        cfg = copy.deepcopy(cfg)
        *way, last = self.path
        part = cfg
        for key in way:
            part = part[key]
        if self.value == MISSPELT:
            part[last + last[-1]] = part.pop(last)
        elif self.value == GONE:
            del part[last]
        else:
            part[last] = copy.deepcopy(self.value)
        return cfg

    @property
    def words(self) -> set[str]:
        """What a message has to name: the key (of an entry of a list, the list)."""
        keys = [key for key in self.path if isinstance(key, str)]
        return {keys[-1] + keys[-1][-1] if self.value == MISSPELT else keys[-1], *keys[:1]} - {'model'}


def base_configs(scenes: Path, coco: Path) -> dict[str, dict]:
    """The four valid configs; ``scenes`` and ``coco`` are folders of tiny scenes."""
    kd = dict(loss_weight=0.5, tau=2.0, schedule=dict(begin=0, warmup=2))
    i2ckd = dict(type='I2CKDDistiller', feature='features', margin=1.0, normalize=False, min_pixels=1)
    distillers = dict(
        i2ckd=dict(i2ckd, loss_weight=0.1, logit_kd=kd, schedule=dict(warmup=1, end=50, decay='linear')),
        lix=dict(
            type='LIXDistiller',
            student_features=['backbone.2', 'backbone.3'],
            teacher_features=['backbone.2', 'backbone.3'],
            dwld=dict(loss_weight='auto'),
            arfd=dict(loss_weight=dict(type='auto', ratio=0.3, iters=10), schedule=dict(begin=0)),
        ),
        bcd=dict(
            type='BCDDistiller',
            features=['backbone.2', 'backbone.3'],
            boundary=dict(loss_weight=10.0, valid_only=False),
            context=dict(loss_weight=1.0, schedule=dict(warmup=2)),
        ),
        dmkd=dict(type='DMKDDistiller', features=['neck.0', 'neck.1'], loss_weight=1e-3, pad_aware=False),
    )
    configs = {}
    for name, distiller in distillers.items():
        detecting = name == 'dmkd'
        networks = [tiny_detector(width=w) if detecting else tiny_model(w, 'BN') for w in (4, 8)]
        configs[name] = dict(
            tiny_run(scenes, iters=1),
            model=dict(
                type='FrozenTeacherDistill',
                architecture=networks[0],
                teacher=networks[1],
                teacher_precision='same',
                teacher_preprocessor='own',
                calculate_student_loss=True,
                student_trainable=True,
                dry_run_size=(SIZE, SIZE),
                distiller=distiller,
            ),
        )
        configs[name]['custom_hooks'] = [dict(type='EMAHook', momentum=0.01)]
        configs[name]['log_level'] = 'ERROR'
        configs[name]['default_hooks']['checkpoint'].update(max_keep_ckpts=1, save_last=True)
        if detecting:
            configs[name].update(_detection_run(coco))
            configs[name]['default_hooks']['visualization'] = dict(type='DetVisualizationHook')
    return _unshared(configs)


def _unshared(value: Any) -> Any:
    """A copy in which no part stands in two places."""
    if isinstance(value, dict):
        return {key: _unshared(inner) for key, inner in value.items()}
    return type(value)(map(_unshared, value)) if isinstance(value, (list, tuple)) else value


def _detection_run(coco: Path) -> dict:
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

    def loader(split: str, pipeline: list, **kwargs: Any) -> dict:
        dataset = dict(
            type='CocoDataset',
            data_root=str(coco),
            metainfo=dict(classes=('0', '1', '2')),
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            pipeline=pipeline,
            **kwargs,
        )
        return dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dataset)

    resize = dict(type='Resize', scale=(SIZE, SIZE), keep_ratio=True)
    flip = dict(type='RandomFlip', prob=0.5)
    train = loader('train', [*load, resize, flip, dict(type='PackDetInputs', meta_keys=keys)])
    val = loader(
        'val', [load[0], resize, load[1], dict(type='PackDetInputs', meta_keys=keys)], test_mode=True
    )
    train['sampler'] = dict(type='InfiniteSampler', shuffle=True)
    val['sampler'] = dict(type='DefaultSampler', shuffle=False)
    metric = dict(type='CocoMetric', metric='bbox', ann_file=str(coco / 'annotations/instances_val2017.json'))
    run = dict(default_scope='mmdet', train_dataloader=train, val_dataloader=val, test_dataloader=val)
    return dict(run, val_evaluator=metric, test_evaluator=metric, visualizer=dict(type='DetLocalVisualizer'))


# --- mistakes --------------------------------------------------------------------------------------------


def wrong_values(key: Any, value: Any) -> list:
    """Values that are wrong where ``value`` is right."""
    if isinstance(value, bool):
        return ['False', 1, 'yes']
    if isinstance(value, (int, float)):
        several = [[value, value]] if isinstance(key, str) else []  # in a list, a pair may be right
        return ['many' if isinstance(value, int) else '0.1', nan, *several]
    if isinstance(value, str):
        return [value[:-1] + 'Xx', 5] if key == 'type' else [5]
    if isinstance(value, (list, tuple)):
        return ['x', 5, {'a': 1}]
    return [5, 'x', [5]] if isinstance(value, dict) else [5]


def walk(value: Any, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """All keys of a config with their values."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key), inner
        if isinstance(inner, (dict, list, tuple)):
            yield from walk(inner, (*path, key))


def _general(name: str, cfg: dict) -> Iterator[Mistake]:
    for path, value in walk({k: v for k, v in cfg.items() if k not in UNREAD}):
        in_tuple = any(isinstance(_at(cfg, path[:i]), tuple) for i in range(len(path)))
        if in_tuple or not _read(path):
            continue
        for wrong in wrong_values(path[-1], value):
            if wrong == 5 and path[-1] in ('loss_weight', 'logit_kd', 'log_level', 'scale'):
                continue  # these may be numbers
            yield Mistake(name, path, wrong)
        if len(path) > 1 and isinstance(path[-1], str) and path[-1] != 'type' and not _any_name(path):
            yield Mistake(name, path, MISSPELT)


def _at(cfg: Any, path: tuple) -> Any:
    for key in path:
        cfg = cfg[key]
    return cfg


def _read(path: tuple) -> bool:
    """Whether training reads a key, and something says what it may be."""
    if path[:2] == ('model', 'teacher') and UNREAD_OF_TEACHER & {*path}:
        return False
    # Which keys of these a network reads, and of what kind they are, nothing says.
    return path[0] != 'model' or not {'train_cfg', 'test_cfg'} & {*path[:-1]}


def _any_name(path: tuple) -> bool:
    """Whether a key may have any name."""
    return path[-2] in ('default_hooks', 'data_prefix', 'metainfo')


#: What is wrong by itself: a path, and the values there.
NAMED: dict[tuple, list] = {
    ('model', 'architecture'): [GONE, None],
    ('model', 'teacher'): [GONE, None],
    ('model', 'distiller'): [GONE, None, dict()],
    ('model', 'teacher_ckpt'): [5, True, 'no_such_file.pth', ['a.pth']],
    ('model', 'teacher_precision'): ['fp8', 'half', None],
    ('model', 'teacher_preprocessor'): ['teacher', None],
    ('model', 'inherit'): [5, 'no_such_part', ['backbone', 5], True],
    ('model', 'inputs'): [5, 'rgb', dict(channels=5), dict(channels=dict(rgb=3), teacher='x')],
    ('model', 'dry_run_size'): [(0, 64), (-64, 64), (64, 64, 64), 64.5, 'many', (64, nan), ('64', '64')],
    ('model', 'data_preprocessor'): [5, 'x', dict(type='SegDataPreProcesor'), dict(mean=5)],
    ('model', 'init_cfg'): [5, 'x'],
    ('model', 'teacher_trainable'): [True, 'no'],
    ('model', 'teacher_norm_eval'): [False, 'no'],
    ('data_preprocessor',): [5, 'x', dict(type='SegDataPreProcesor')],
    ('optim_wrapper',): [GONE, None, dict(), dict(type='OptimWrapper'), [dict(type='SGD', lr=0.1)]],
    ('optim_wrapper', 'optimizer'): [GONE, None, dict(lr=0.1), dict(type='SGD', lr=0.1, betas=3)],
    ('optim_wrapper', 'optimizer', 'type'): ['Adamm', 'SGDD', 'ResNet'],
    ('optim_wrapper', 'optimizer', 'lr'): [-0.1, inf, None],
    ('optim_wrapper', 'optimizer', 'momentum'): [-1],
    ('optim_wrapper', 'accumulative_counts'): [0, -1, 'two', 1.5],
    ('optim_wrapper', 'clip_grad'): [5, 'x', dict(max_norms=1.0), dict(max_norm='1')],
    ('optim_wrapper', 'paramwise_cfg'): [5, dict(custom_keys=5), dict(norm_decay_mult='0')],
    ('param_scheduler',): [[dict(type='PolyLRR')], dict(eta_min=0), [None]],
    ('param_scheduler', 0, 'begin'): [-1, 200],
    ('param_scheduler', 0, 'type'): [GONE],
    ('train_cfg',): [GONE, None, dict(), dict(by_epoch=True)],
    ('train_cfg', 'max_iters'): [-1, 0, None, inf, GONE, 1.5],
    ('train_cfg', 'val_interval'): [0, -1],
    ('train_cfg', 'type'): ['ValLoop', 'IoUMetric'],
    ('val_cfg',): [None, GONE],
    ('train_dataloader',): [GONE, None],
    ('train_dataloader', 'batch_size'): [0, '4', -1, None, 1.5],
    ('train_dataloader', 'num_workers'): [-1, None, 1.5],
    ('train_dataloader', 'persistent_workers'): [True],
    ('train_dataloader', 'sampler'): [GONE, None],
    ('train_dataloader', 'sampler', 'type'): ['RandomSampler5'],
    ('train_dataloader', 'pin_memory'): ['True'],
    ('train_dataloader', 'drop_last'): ['no'],
    ('train_dataloader', 'prefetch_factor'): [-1, 'x'],
    ('train_dataloader', 'collate_fn'): [5, dict(type='no_collate')],
    ('train_dataloader', 'dataset'): [GONE, None],
    ('train_dataloader', 'dataset', 'type'): ['SceneDatasett', GONE, None],
    ('train_dataloader', 'dataset', 'data_root'): ['/no/such/folder'],
    ('train_dataloader', 'dataset', 'pipeline'): [[], None, [dict(type='LoadImageFromFile')], [None]],
    ('train_dataloader', 'dataset', 'indices'): ['x'],
    ('val_dataloader',): [GONE, None],
    ('val_dataloader', 'dataset', 'pipeline'): [[]],
    ('val_dataloader', 'batch_size'): [0],
    ('val_evaluator',): [GONE, None, [], [5]],
    ('val_evaluator', 'type'): ['IoUMetrik', GONE],
    ('default_hooks', 'logger'): [dict(type='LoggerHookk'), dict(interval=5)],
    ('default_hooks', 'logger', 'interval'): [0, -1],
    ('default_hooks', 'checkpoint', 'save_best'): [5, True],
    ('default_hooks', 'checkpoint', 'interval'): [1.5],
    ('custom_hooks',): [[5], [dict(momentum=0.1)], [dict(type='EMAHok')]],
    ('custom_hooks', 0, 'priority'): ['SOON', 'x'],
    ('load_from',): [5, True, 'no_such_file.pth', ['a']],
    ('resume',): ['True', 'x', 0.5],
    ('randomness',): [None, dict(sed=1)],
    ('randomness', 'seed'): ['x', -1, 1.5, nan],
    ('randomness', 'deterministic'): ['True', 5],
    ('env_cfg', 'dist_cfg', 'timeout'): ['x'],
    ('log_level',): ['LOUD', None],
    ('log_processor', 'window_size'): [0, -5],
    ('work_dir',): [5, ['x']],
    ('auto_scale_lr',): [5, dict(enable='True', base_batch_size=16), dict(enable=True)],
    ('default_scope',): ['mmsegg'],
    ('visualizer', 'type'): ['SegLocalVisualizerr'],
}
FEATURES = [5, [], ['backbone.3', 'backbone.3'], ['backbone.9'], ['nowhere'], [5], '', [''], dict(a='b')]
DISTILLERS: dict[str, dict[tuple, list]] = dict(
    i2ckd={
        ('margin',): ['abc', -1, inf, None],
        ('distance',): ['manhattan', 5],
        ('negatives',): ['all_of_them', 5],
        ('unit',): ['metre'],
        ('scope',): ['world'],
        ('min_pixels',): [0, -1, 1.5],
        ('ignore_index',): ['255'],
        ('num_classes',): [0, -1, 'eleven', 7.5],
        ('student_channels',): [3, '32'],
        ('feature',): [5, 'nowhere', ['features'], '', None],
        ('student_feature',): [5, 'nowhere', 'backbone.9'],
        ('loss_weight',): [-1, inf, 'big', True, None, dict(type='auto', ratio=-1), dict(ratio=1), [1.0]],
        ('logit_kd',): [-1, nan, 'x', True, [1], dict(tau=0), dict(tau=-1), dict(weight=1)],
        ('logit_kd', 'loss_weight'): [-1, inf, 'big', True],
        ('logit_kd', 'tau'): [0, -1, inf, True],
        ('logit_kd', 'schedule'): [5, dict(begins=1)],
        ('schedule',): [dict(begin='x'), dict(warmup=nan), dict(end='x'), dict(begin=-1), dict(begin=1.5)],
        ('schedule', 'decay'): ['fast', None],
        ('schedule', 'end'): [0, 0.5],
        ('schedule', 'warmup'): [-1, True],
        ('taps',): [5],
    },
    lix={
        ('dwld',): [dict(loss_weights=1), True],
        ('dwld', 'loss_weight'): [-1, nan, inf, 'big', True],
        ('dwld', 'tau'): ['1', -1],
        ('dwld', 'controller'): ['x', 5],
        ('arfd', 'loss_weight'): [-1, nan, 'big', dict(type='auto', ratio='x'), dict(type='auto', iters=0)],
        ('arfd', 'loss_weight', 'ratio'): [-1, 0, inf],
        ('arfd', 'loss_weight', 'iters'): [0, -1, 1.5],
        ('arfd', 'schedule'): [5, dict(begin=nan), dict(end=-5), dict(warmup='5')],
        ('student_features',): FEATURES,
        ('teacher_features',): FEATURES,
    },
    bcd={
        ('boundary',): [dict(weight=1)],
        ('boundary', 'loss_weight'): [-1, nan, inf, 'big', True],
        ('context', 'loss_weight'): [-1, nan, inf, 'big', True],
        ('context', 'tokens'): ['x', -1, 1.5],
        ('context_features',): [5, [], 'nowhere', dict(student='backbone.3')],
        ('features',): FEATURES,
    },
    dmkd={
        ('loss_weight',): [-1, inf, 'big', True, [1]],
        ('spatial_ratio',): ['x', -1, 2, nan],
        ('channel_ratio',): ['x', -1, 2, nan],
        ('features',): [*FEATURES[:2], ['neck.0', 'neck.0'], *FEATURES[3:]],
        ('schedule',): [5, dict(begin='x'), dict(end=nan)],
    },
)


def _named(name: str, cfg: dict) -> Iterator[Mistake]:
    own = {('model', 'distiller', *path): values for path, values in DISTILLERS[name].items()}
    for path, values in {**NAMED, **own}.items():
        try:
            there = _at(cfg, path[:-1])
        except (KeyError, IndexError):
            continue
        for value in values:
            if value != GONE or path[-1] in there:
                yield Mistake(name, path, value)


def _no_losses(name: str) -> Iterator[Mistake]:
    off = dict(
        i2ckd=[dict(loss_weight=0.0)],
        lix=[dict(dwld=None, arfd=None), dict(dwld=dict(loss_weight=0.0), arfd=dict(loss_weight=0))],
        bcd=[dict(boundary=None, context=None), dict(boundary=None, context=dict(loss_weight=0.0))],
        dmkd=[dict(loss_weight=0.0)],
    )[name]
    kind = dict(i2ckd='I2CKD', lix='LIX', bcd='BCD', dmkd='DMKD')[name]
    for options in off:
        yield Mistake(name, ('model', 'distiller'), dict(options, type=f'{kind}Distiller'))


def mistakes(configs: dict[str, dict]) -> list[Mistake]:
    """All of them, each once."""
    found: dict[str, Mistake] = {}
    for name, cfg in configs.items():
        for mistake in (*_general(name, cfg), *_named(name, cfg), *_no_losses(name)):
            found.setdefault(str(mistake), mistake)
    return list(found.values())


def draw(configs: dict[str, dict], count: int, seed: int = 0) -> list[Mistake]:
    """So many of all mistakes, as a seed draws them: most in the keys of a run and of the distillation, some
    inside of the networks, whose keys are other packages' own.
    """
    groups: dict[str, list[Mistake]] = {'run': [], 'distillation': [], 'networks': []}
    for mistake in mistakes(configs):
        networks = mistake.path[1:2] in (('architecture',), ('teacher',)) and len(mistake.path) > 2
        groups['networks' if networks else 'distillation' if mistake.path[0] == 'model' else 'run'] += [
            mistake
        ]
    shares = dict(run=0.5, distillation=0.35, networks=0.15)
    rng = random.Random(seed)
    drawn = [
        rng.sample(group, min(len(group), round(count * shares[name]))) for name, group in groups.items()
    ]
    return [mistake for group in drawn for mistake in group]


# --- outcomes --------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a tool made of a config.

    Attributes:
        kind (str): ``'named'``: the error names the key; ``'unnamed'``: this project's sentence, or words of
            another package in one, that does not; ``'third'``: words of another package alone that do not;
            ``'raw'``: an error of Python itself in a line of this project; ``'accepted'``: no error.
        text (str): The error.
    """

    kind: str
    text: str = ''


def write(path: Path, cfg: dict) -> Path:
    """A dict as a config file, nan and infinity included."""
    lines = [f'{key} = {value!r}' for key, value in cfg.items()]
    path.write_text(re.sub(r'(?<![\w\'"/.])(nan|inf)(?![\w\'"/.])', r"float('\1')", '\n'.join(lines)))
    return path


def outcome(run: Callable[[], Any], words: set[str]) -> Outcome:
    """Run a tool and judge how it ends; ``words`` are what its message has to name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            run()
    except Exception as error:
        return judge(error, words)
    return Outcome('accepted')


def judge(error: Exception, words: set[str]) -> Outcome:
    """Whose error it is, and whether it names the key."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = f'{type(error).__name__}: {error.args[0] if len(error.args) == 1 else error}'
    ours = frame.filename.startswith((str(ROOT / 'kd_methods'), str(ROOT / 'tools')))
    named = all(re.search(rf'\b{re.escape(word)}\b', text) for word in words)
    if ours and not frame.line.startswith('raise'):
        return Outcome('raw', f'{text}  [{frame.filename}:{frame.lineno}: {frame.line}]')
    if named:
        return Outcome('named', text)
    return Outcome('unnamed' if ours else 'third', text)
