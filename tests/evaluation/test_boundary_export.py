"""A run that is validated by boundary IoU: what it keeps, and that its student does without this package."""

import pytest
from mmengine.config import Config
from toys import tiny_model

import kd_methods  # noqa: F401
from kd_methods.evaluation import BoundaryIoUMetric
from kd_methods.export.plain_config import plain_config

IOU = dict(type='IoUMetric', iou_metrics=['mIoU'])
BOUNDARY = dict(type='BoundaryIoUMetric', width=2, ignore_index=254)


@pytest.mark.parametrize(
    'given, left',
    [
        ([IOU, BOUNDARY], [IOU]),
        ([BOUNDARY, IOU, dict(type='DepthMetric')], [IOU, dict(type='DepthMetric')]),
        ([IOU, dict(BOUNDARY, type=BoundaryIoUMetric)], [IOU]),
        (IOU, IOU),
        (BOUNDARY, dict(IOU, ignore_index=254)),
        ([dict(type='mmengine.BoundaryIoUMetric')], dict(IOU, ignore_index=255)),
    ],
)
@pytest.mark.parametrize('split', ['val', 'test'])
def test_exported_config_has_stock_metrics(given, left, split):
    cfg = Config(
        {
            'default_scope': 'mmseg',
            'model': tiny_model(),
            f'{split}_dataloader': dict(batch_size=1),
            f'{split}_cfg': dict(type=f'{split.title()}Loop'),
            f'{split}_evaluator': given,
        }
    )
    plain = plain_config(cfg)
    assert plain.test_evaluator == left
    assert 'custom_imports' not in plain and 'kd_methods' not in plain.pretty_text


def test_run_that_keeps_its_best_by_boundary_iou(tiny_config, tools, tmp_path):
    config = tiny_config(
        'by_boundary', iters=2, val_evaluator=[IOU, BOUNDARY], test_evaluator=[IOU, BOUNDARY]
    )
    runner = tools.train(
        [
            str(config),
            '--work-dir',
            str(tmp_path),
            '--cfg-options',
            'default_hooks.checkpoint.save_best=mBIoU',
            'default_hooks.checkpoint.rule=greater',
        ]
    )
    assert (tmp_path / 'best_mBIoU_iter_2.pth').exists() and (tmp_path / 'best.pth').exists()
    scalars = {k: v.current() for k, v in runner.message_hub.log_scalars.items() if k.startswith('val/')}
    assert 0 < scalars['val/mBIoU'] < 100 and 0 <= scalars['val/trimap_mIoU'] < 100
    tested = tools.test([str(config), str(tmp_path / 'best.pth'), '--work-dir', str(tmp_path)])
    assert tested['mBIoU'] == scalars['val/mBIoU'] and tested['mIoU'] == pytest.approx(scalars['val/mIoU'])
    student = Config.fromfile(str(tmp_path / 'student_config.py'))
    assert student.test_evaluator == [IOU] and student.default_scope == 'mmseg'
    assert 'kd_methods' not in student.pretty_text and 'Boundary' not in student.pretty_text
