"""No run touches a file outside its work directory, and what it says to load is there."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

HOOK = dict(type='StudentExportHook')


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def named_by(config: Path) -> list[Path]:
    """Files that the header of an exported config names."""
    header = [line for line in config.read_text().splitlines() if line.startswith('#')]
    return [
        Path(name) for name in re.findall("'([^']+)'", ' '.join(header)) if name.endswith(('.py', '.pth'))
    ]


@pytest.fixture
def make(tiny_cfg):
    """`make(iters, **checkpoint hook)`: a config that validates and saves at every iteration."""

    def config(iters: int = 3, **checkpoint):
        cfg = tiny_cfg(iters=iters, custom_hooks=[HOOK])
        cfg.train_cfg.val_interval = 1
        cfg.default_hooks.checkpoint.update(
            dict(interval=1, save_best='mIoU', max_keep_ckpts=1), **checkpoint
        )
        return cfg

    return config


class Scores(Hook):
    """Gives the validations a score that is known, by iteration."""

    priority = 'VERY_HIGH'

    def __init__(self, **scores: float) -> None:
        self.scores = scores

    def after_val_epoch(self, runner, metrics) -> None:
        metrics['mIoU'] = metrics['mAcc'] = self.scores.get(f'at{runner.iter}', 1.0)


@pytest.mark.parametrize(
    'checkpoint',
    [
        {},
        dict(save_best=['mIoU', 'mAcc']),
        dict(save_best='auto'),
        dict(save_best=None),
        dict(published_keys=['meta', 'state_dict']),
    ],
    ids=['one metric', 'two metrics', 'auto', 'none', 'published'],
)
@pytest.mark.parametrize('better', [True, False])
def test_a_run_that_goes_on_elsewhere_leaves_the_first_alone(make, runs, tmp_path, checkpoint, better):
    """Also its best checkpoint, which the message hub names."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    runs.train(make(3, **checkpoint), first, hooks=(Scores(at2=5.0),))
    before = contents(first)
    cfg = make(5, **checkpoint)
    cfg.load_from = str(first / 'iter_3.pth')
    runs.train(cfg, second, resume=True, hooks=(Scores(at5=9.0 if better else 0.5),))
    assert contents(first) == before
    assert (second / 'iter_5_student.pth').is_file()
    assert (second / 'best.pth').is_file() == bool(cfg.default_hooks.checkpoint.save_best)
    assert len(named_by(second / 'student_config.py')) == 2
    for file in named_by(second / 'student_config.py'):
        assert file.is_file() and file.parent == second


def test_paths_in_a_message_hub_are_believed_nowhere(make, runs, tmp_path):
    """Every value of it that may be a path names a user's file."""
    first, second, users = (tmp_path / name for name in ('first', 'second', 'users'))
    runs.train(make(2), first)
    users.mkdir()
    for name in (
        'best_mIoU_iter_2',
        'best_mIoU_iter_2_student',
        'iter_1',
        'iter_2',
        'iter_2_student',
        'best',
    ):
        (users / f'{name}.pth').write_bytes(b'precious')
    content = torch.load(first / 'iter_2.pth', weights_only=False)
    info = content['message_hub']['runtime_info']
    for name in ('best_ckpt', 'best_ckpt_mIoU', 'best_ckpt_mAcc'):
        info[name] = str(users / 'best_mIoU_iter_2.pth')
    info.update(last_ckpt=str(users / 'iter_2.pth'), keep_ckpt_ids=[1, 2], outdated_ckpt_ids=[1, 2])
    torch.save(content, users / 'from.pth')
    before = contents(users), contents(first)
    for number, metrics in enumerate(('mIoU', ['mIoU', 'mAcc'])):
        cfg = make(4, save_best=metrics)
        cfg.load_from = str(users / 'from.pth')
        runs.train(cfg, second / str(number), resume=True)
    assert (contents(users), contents(first)) == before


def test_the_config_names_weights_that_are_there_at_every_moment(make, runs, tmp_path):
    """Before a first best, after the removal of what it named, and after a stop."""

    class Look(Hook):
        priority = 'LOWEST'
        seen = 0

        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            for config in tmp_path.rglob('student_config.py'):
                self.seen += 1
                assert all(file.is_file() for file in named_by(config)), config.read_text()[:400]

    for name, keys in dict(best={}, none=dict(save_best=None), late=dict(interval=1)).items():
        look, cfg = Look(), make(4, **keys)
        if name == 'late':  # saved, and stopped before the first validation
            cfg.train_cfg.val_interval = 4
        runs.train(cfg, tmp_path / name, stop=3, hooks=(look,))
        assert look.seen
        runs.train(cfg, tmp_path / name, resume=True, hooks=(look,))
        look.before_train_iter(None, 0)
    assert (tmp_path / 'none' / 'iter_4_student.pth') in named_by(tmp_path / 'none' / 'student_config.py')
    assert (tmp_path / 'late' / 'best.pth') in named_by(tmp_path / 'late' / 'student_config.py')
