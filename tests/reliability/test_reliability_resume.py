"""`--resume` takes the newest whole checkpoint, and says what it leaves out."""

import shutil
from pathlib import Path

import pytest
import torch
from toys import tiny_distillation


@pytest.fixture(scope='module')
def finished(tiny_config, tiny_teacher, tools, tmp_path_factory):
    """Config and work dir of a run of 6 iterations, with a checkpoint at 2, 4 and 6."""
    config = tiny_config('tiny_resumed', tiny_distillation(tiny_teacher), iters=6)
    hook = dict(type='CheckpointHook', by_epoch=False, interval=2)
    config.write_text(
        f'{config.read_text()}\ndefault_hooks["checkpoint"] = {hook!r}\nrandomness = dict(seed=0)\n'
    )
    work_dir = tmp_path_factory.mktemp('resume') / 'work'
    tools.train([str(config), '--work-dir', str(work_dir)])
    return config, work_dir


@pytest.fixture
def resume(finished, tools, tmp_path):
    """`resume()` -> the log of going on to iteration 8, after `.work` was damaged."""
    config, work_dir = finished

    class Resume:
        work = tmp_path / 'moved'

        def __call__(self, *arguments) -> str:
            options = ['--resume', *arguments, '--cfg-options', 'train_cfg.max_iters=8']
            self.runner = tools.train([str(config), '--work-dir', str(self.work), *options])
            return max(self.work.glob('*/*.log'), key=lambda f: f.stat().st_mtime).read_text()

    shutil.copytree(work_dir, Resume.work)
    return Resume()


def empty(path: Path) -> None:
    path.write_bytes(b'')


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def another_network(path: Path) -> None:
    content = torch.load(path, weights_only=False)
    content['state_dict'] = {k: v for k, v in content['state_dict'].items() if 'backbone.layer4' not in k}
    torch.save(content, path)


def student_alone(path: Path) -> None:
    shutil.copy(path.with_name(f'{path.stem}_student.pth'), path)


def other_optimizer(path: Path) -> None:
    content = torch.load(path, weights_only=False)
    content['optimizer']['param_groups'] *= 2
    torch.save(content, path)


DAMAGES = [empty, truncate, zero, flip_a_bit, another_network, student_alone, other_optimizer]


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda d: d.__name__)
def test_what_is_not_whole_or_not_of_this_run_is_left_out(damage, resume):
    damage(resume.work / 'iter_6.pth')
    log = resume()
    assert f'{resume.work}/iter_6.pth is left out: ' in log
    assert f'Resumed from {resume.work}/iter_4.pth' in log and resume.runner.iter == 8


def test_several_damaged_ones_are_left_out(resume):
    flip_a_bit(resume.work / 'iter_6.pth')
    truncate(resume.work / 'iter_4.pth')
    assert f'Resumed from {resume.work}/iter_2.pth' in resume()


def test_it_never_begins_anew_where_there_are_checkpoints(resume):
    for number in (2, 4, 6):
        truncate(resume.work / f'iter_{number}.pth')
    with pytest.raises(
        ValueError, match='none of the checkpoints.*iter_6.pth.*iter_2.pth.*another --work-dir'
    ):
        resume()


@pytest.mark.parametrize('content', [None, '', '\0\0\0', '/gone/elsewhere/iter_2.pth'])
def test_last_checkpoint_may_be_missing_damaged_or_of_another_place(content, resume):
    pointer = resume.work / 'last_checkpoint'
    pointer.unlink() if content is None else pointer.write_text(content)
    assert f'Resumed from {resume.work}/iter_6.pth' in resume()


def test_a_run_that_was_sent_back_goes_on_from_where_it_was_sent(resume):
    resume(str(resume.work / 'iter_2.pth'))  # to 8, by 4 and 6, which are written anew
    for number in (4, 6):
        assert (resume.work / f'iter_{number}.pth').stat().st_mtime > (
            resume.work / 'iter_2.pth'
        ).stat().st_mtime
    (resume.work / 'iter_8.pth').unlink()
    assert f'Resumed from {resume.work}/iter_6.pth' in resume()


@pytest.mark.parametrize('damage', [truncate, student_alone, another_network], ids=lambda d: d.__name__)
def test_a_named_file_that_cannot_be_gone_on_from_is_an_error_with_the_way_out(damage, resume):
    damage(resume.work / 'iter_4.pth')
    with pytest.raises(ValueError, match='iter_4.pth'):
        resume(str(resume.work / 'iter_4.pth'))
