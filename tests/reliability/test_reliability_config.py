"""Values of config keys are checked before training: what is wrong ends in a sentence that names the key."""

import contextlib
import gc
import io
import logging
from collections import Counter
from functools import cache, partial
from pathlib import Path

import mmengine.config.utils
import pytest
import torch
from config_fuzz import base_configs, draw, mistakes, outcome, write
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.visualization import Visualizer
from toys import ROOT, SIZE, load_tool, tiny_model, tiny_run

from kd_methods.distill.levels import check_features
from kd_methods.distill.loss_weights import LossSchedule
from kd_methods.engine.config_values import check_values
from kd_methods.scenes.writer import write_scenes
from kd_methods.utils.errors import naming


@pytest.fixture(scope='module')
def configs(tmp_path_factory, tiny_scenes):
    """The valid configs that the mistakes are made in."""
    coco = tmp_path_factory.mktemp('data') / 'coco'
    write_scenes(coco, train=16, val=5, size=SIZE, workers=1, format='coco')
    return base_configs(tiny_scenes, coco)


@pytest.fixture(scope='module')
def train():
    """``train(cfg, folder)``: tools/train.py in this process, without what takes most of its time."""
    main = load_tool('train').main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **options: (text, True))
        patch.setattr('mmengine.runner.runner.collect_env', dict)
        logging.disable(logging.CRITICAL)
        gc.collect()
        gc.freeze()  # mmengine collects garbage for each data set

        def run(cfg: dict, folder: Path) -> None:
            torch.manual_seed(0)
            DefaultScope._instance_dict.clear()
            for kind in (Visualizer, *Visualizer.__subclasses__()):
                kind._instance_dict.clear()
            work_dir = [] if 'work_dir' in cfg else ['--work-dir', str(folder / 'work')]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                main([str(write(folder / 'config.py', cfg)), *work_dir])

        yield run
        gc.unfreeze()
        logging.disable(logging.NOTSET)


def fuzz(configs: dict, train, folder: Path, count: int, seed: int) -> None:
    """No raw error, nothing accepted; at most 5 % of the errors do not name the key."""
    drawn = draw(configs, count, seed)
    assert len(drawn) >= count - 2
    found = []
    for i, mistake in enumerate(drawn):
        (folder / str(i)).mkdir()
        cfg = mistake.apply(configs[mistake.config])
        found.append((mistake, outcome(partial(train, cfg, folder / str(i)), mistake.words)))
    counts = Counter(result.kind for _, result in found)
    told = '\n'.join(f'{r.kind}: {m}\n    {r.text[:400]}' for m, r in found if r.kind != 'named')
    print(counts, told, sep='\n')
    assert not counts['raw'] and not counts['accepted'], told
    assert counts['third'] + counts['unnamed'] <= 0.05 * len(drawn), told


def test_the_valid_configs_train(configs, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, cfg in configs.items():
        (tmp_path / name).mkdir()
        train(cfg, tmp_path / name)
        assert list((tmp_path / name).glob('work/iter_1.pth'))


def test_a_wrong_value_ends_in_a_sentence_with_its_key(configs, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(mistakes(configs)) > 3000
    fuzz(configs, train, tmp_path, 100, seed=0)


@pytest.mark.slow
def test_500_wrong_values_end_in_sentences_with_their_keys(configs, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fuzz(configs, train, tmp_path, 500, seed=16)


@pytest.mark.parametrize('step', [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_config_of_this_tree_is_refused(step, monkeypatch):
    # mmengine reads mmseg's 53 metafiles for each `mmseg::` base
    monkeypatch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
    files = [f for f in sorted((ROOT / 'configs').glob('*/*.py')) if f.parent.name != '_base_']
    assert len(files) > 100
    for file in files[::step]:
        check_values(Config.fromfile(str(file)), 'train', 'val', 'test')


@pytest.mark.parametrize(
    'changes',
    [
        dict(),
        dict(optim_wrapper=dict(optimizer=dict(type=torch.optim.SGD, lr=1))),
        dict(train_cfg=dict(by_epoch=True, max_epochs=2), val_cfg=dict(), param_scheduler=None),
        dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=4e4, val_interval=10)),
        dict(visualizer=dict(type='SegLocalVisualizer'), log_level=10, custom_hooks=None, resume=False),
        dict(val_dataloader=None, val_cfg=None, val_evaluator=None, randomness=dict(seed=None)),
        dict(param_scheduler=dict(type='MultiStepLR', milestones=[1, 2]), unknown_key=dict(any=['thing'])),
        dict(
            optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=512.0, optimizer=dict(type='SGD', lr=0.1))
        ),
    ],
    ids=lambda changes: '-'.join(changes) or 'as it is',
)
def test_what_is_right_is_not_refused(changes, tiny_scenes):
    cfg = dict(tiny_run(tiny_scenes), model=tiny_model(norm='BN'))
    check_values(Config({**cfg, **changes}), 'train', 'val', 'test')


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(optim_wrapper=5), 'optim_wrapper must be a dict. Got: 5'),
        (
            dict(optim_wrapper=dict(optimizer=dict(type='Adamm', lr=1))),
            "optim_wrapper.optimizer.type.*'Adam'",
        ),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr='1'))), 'optim_wrapper.optimizer: lr must be'),
        (dict(optim_wrapper=dict(optimizer=dict(type='SGD', momentun=1))), "Did you mean 'momentum'"),
        (dict(data_preprocessor='x'), 'data_preprocessor: expected a dict with a type'),
        (dict(resume='False'), 'resume must be True or False'),
        (dict(custom_hooks=5), 'custom_hooks must be a list'),
        (dict(val_cfg=None), 'val_dataloader is given, but no val_cfg'),
        (dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters='many')), 'train_cfg: max_iters must be'),
        (dict(param_scheduler=[dict(type='PolyLR', begin=float('nan'))]), 'param_scheduler.0.begin is nan'),
        (dict(model=dict(tiny_model(), decode_head=dict(loss_decode=dict(loss_weight=-1)))), 'loss_weight'),
        (dict(randomness=dict(deterministic='True')), 'deterministic must be True or False'),
    ],
)
def test_a_wrong_value_is_named_before_data_and_networks(changes, words, tiny_scenes):
    cfg = {**tiny_run(tiny_scenes), 'model': tiny_model(norm='BN'), **changes}
    with pytest.raises((TypeError, ValueError, KeyError), match=words):
        check_values(Config(cfg), 'train', 'val')


@pytest.mark.parametrize('wrong, text', [(lambda: [][5], 'IndexError'), (lambda: {}[5], 'KeyError: 5')])
def test_a_bare_fragment_gets_the_key_and_the_kind_of_error(wrong, text):
    with pytest.raises(ValueError, match=f'^some.key: {text}'), naming('some.key'):
        wrong()


def test_errors_of_other_packages_name_the_part_and_what_it_read():
    model = tiny_model(norm='BN')
    model['decode_head']['in_index'] = [2, 2]
    with DefaultScope.overwrite_default_scope('mmseg'):
        with (
            pytest.raises(ValueError, match=r'model\.decode_head: .*in_index=\[2, 2\]'),
            naming('model', model),
        ):
            MODELS.build(model)


@pytest.mark.parametrize(
    'key, value',
    [
        ('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.1, nesterov=True))),  # without momentum
        ('optim_wrapper', dict(optimizer=dict(type='SGD', lr=0.1), constructor='Nowhere')),
        ('model.distiller', 5),
        ('model.data_preprocessor', dict(type='SegDataPreProcessor', mean=['a', 'b', 'c'], std=[1, 1, 1])),
        ('model.data_preprocessor', dict(type='SegDataPreProcessor', mean=[0, 0, 0, 0, 0], std=[1] * 5)),
    ],
)
def test_check_says_which_part_it_was_building(key, value, configs, tmp_path, capsys):
    cfg = dict(configs['i2ckd'])
    cfg.update({'model': dict(cfg['model'], **{key[6:]: value})} if key.startswith('model') else {key: value})
    assert load_tool('check').main([str(write(tmp_path / 'wrong.py', cfg)), '--no-data']) == 2
    assert capsys.readouterr().err.startswith(f'check.py: {key}')


@pytest.mark.parametrize(
    'schedule', [dict(begin='x'), dict(warmup=float('nan')), dict(end=0.5), dict(begin=True)]
)
def test_a_schedule_counts_whole_iterations(schedule):
    (name,) = schedule
    with pytest.raises(ValueError, match=rf'key\.schedule\.{name} must be a whole number'):
        LossSchedule.parse(schedule, 'key.schedule')


def test_a_tap_is_named_once():
    with pytest.raises(ValueError, match="features: named twice: .'neck.0'"):
        check_features('distiller', features=['neck.0', 'neck.1', 'neck.0'])
