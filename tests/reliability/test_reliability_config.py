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
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from toys import ROOT, SIZE, load_tool

from kd_methods.engine.config_values import check_values
from kd_methods.scenes.writer import write_scenes


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
        patch.setattr('mmengine.config.config.FormatCode', lambda text, **options: (text, True))
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


def test_no_config_of_this_tree_is_refused(monkeypatch):
    # mmengine reads mmseg's 53 metafiles for each `mmseg::` base
    monkeypatch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
    files = [f for f in sorted((ROOT / 'configs').glob('*/*.py')) if f.parent.name != '_base_']
    assert len(files) > 100
    for file in files[::4]:
        check_values(Config.fromfile(str(file)), 'train', 'val', 'test')
