"""What a training has logged, over all its sessions."""

import json
from pathlib import Path

from kd_methods.experiments.logs import read_training


def write_log(folder: Path, session: str, *records: dict) -> None:
    """Write scalars as mmengine does; the last line was cut off when the run was stopped."""
    path = folder / session / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(r) for r in records) + '\n{"loss": 1.')


def test_sessions_of_an_interrupted_run_are_one(tmp_path):
    first = [dict(loss=3.0, time=0.1, step=10), dict(loss=2.0, time=0.3, step=20), dict(mIoU=11.0, step=20)]
    write_log(tmp_path, '20260101_000000', *first)
    second = [dict(loss=2.5, time=0.5, step=20), dict(mIoU=12.0, step=20), dict(loss=1.0, time=0.2, step=30)]
    write_log(tmp_path, '20260101_000100', *second)
    log = read_training(tmp_path)
    assert log.loss == {10: 3.0, 20: 2.5, 30: 1.0}
    assert log.metrics == {'mIoU': {20: 12.0}}
    assert log.seconds == {10: 0.1, 20: 0.5, 30: 0.2} and log.seconds_per_iteration == 0.2


def test_nothing_logged(tmp_path):
    log = read_training(tmp_path / 'none')
    assert log == ({}, {}, {}) and log.seconds_per_iteration is None


def test_task_losses_are_without_those_of_a_distiller(tmp_path):
    losses = {'student.decode.loss_ce': 1.5, 'student.aux.loss_ce': 0.5, 'distill.loss_i2ckd': 3.0}
    others = {'loss': 5.0, 'student.decode.acc_seg': 70.0, 'time': 1.0, 'step': 1}
    write_log(tmp_path, 'a', losses | others)
    assert read_training(tmp_path).loss == {1: 2.0}


def test_all_figures_of_a_validation(tmp_path):
    words = {'note': 'text', 'data_time': 0.1, 'time': 0.2, 'step': 4}
    write_log(tmp_path, 'a', {'coco/bbox_mAP': 0.3, 'coco/bbox_mAP_50': 0.5, **words})
    assert read_training(tmp_path).metrics == {'coco/bbox_mAP': {4: 0.3}, 'coco/bbox_mAP_50': {4: 0.5}}
