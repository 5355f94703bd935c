"""tools/train.py and tools/test.py: flags, overrides, resume, what is written, what is said."""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path

import entry
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from toys import ROOT, load_tool, run_script

from kd_methods.data_check.look import check_datasets


def last_json(text: str) -> dict:
    """The metrics that test.py printed as its last line."""
    line = text.strip().splitlines()[-1]
    assert line.startswith('metrics: ')
    return json.loads(line[len('metrics: ') :])


@pytest.fixture(autouse=True)
def no_local_rank(monkeypatch):
    """read_config sets LOCAL_RANK: put it back after each test."""
    monkeypatch.setenv('LOCAL_RANK', '0')


# ---------------------------------------------------------------- arguments


@pytest.mark.parametrize('tool, files', [('train', ['c.py']), ('test', ['c.py', 'c.pth'])])
@pytest.mark.parametrize('spelling', ['--local_rank', '--local-rank'])
def test_both_spellings_of_local_rank(tool, files, spelling, monkeypatch, tiny_config):
    parse = load_tool(tool).parse_args
    assert parse([*files, spelling, '1']).local_rank == 1
    assert parse([*files, f'{spelling}=2']).local_rank == 2
    monkeypatch.delenv('LOCAL_RANK')
    args = parse([*files, spelling, '3'])
    args.config = str(tiny_config('local_rank'))
    entry.read_config(args)
    assert os.environ['LOCAL_RANK'] == '3'


def test_resume_takes_a_value_or_none():
    parse = load_tool('train').parse_args
    assert parse(['c.py']).resume is None
    assert parse(['c.py', '--resume']).resume == 'auto'
    assert parse(['c.py', '--resume', 'auto']).resume == 'auto'
    assert parse(['c.py', '--resume', 'x.pth', '--amp']).resume == 'x.pth'


def test_work_dir(tiny_config):
    parse = load_tool('train').parse_args
    config = str(tiny_config('work_dirs_name'))
    assert entry.read_config(parse([config])).work_dir == 'work_dirs/work_dirs_name'
    assert entry.read_config(parse([config, '--work-dir', 'w'])).work_dir == 'w'
    named = str(tiny_config('named', work_dir='elsewhere'))
    assert entry.read_config(parse([named])).work_dir == 'elsewhere'


def test_cfg_options_reach_nested_keys(tiny_config):
    args = load_tool('train').parse_args(
        [
            str(tiny_config('options')),
            '--cfg-options',
            'optim_wrapper.optimizer.lr=0.5',
            'model.decode_head.pool_scales=[1,3]',
            'train_dataloader.dataset.pipeline.2.prob=0.25',
            'model.backbone.norm_cfg.type=BN',
        ]
    )
    cfg = entry.read_config(args)
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.model.decode_head.pool_scales == [1, 3]
    assert cfg.train_dataloader.dataset.pipeline[2].prob == 0.25
    assert cfg.model.backbone.norm_cfg.type == 'BN'


# ---------------------------------------------------------------- mistakes


def test_unknown_config_names_the_near_ones(tiny_config, tools):
    config = tiny_config('right_name')
    with pytest.raises(
        FileNotFoundError, match="CONFIG: no config file .*right_nam.py.*Did you mean 'right_name.py'"
    ):
        tools.train([str(config.with_name('right_nam.py'))])


def test_base_file_is_no_config(tmp_path, tools):
    (tmp_path / 'base.py').write_text('a = 1\n')
    with pytest.raises(ValueError, match='has no `model`'):
        tools.train([tmp_path / 'base.py'])


def test_broken_config(tmp_path, tools):
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    with pytest.raises(ValueError, match='broken.py is not valid Python'):
        tools.train([tmp_path / 'broken.py'])


def test_missing_data_says_how_to_make_it(tiny_config, tools, tmp_path):
    config = tiny_config('no_data')
    with pytest.raises(
        FileNotFoundError,
        match=(
            'train_dataloader.dataset: SceneDataset finds no .*nowhere.*tools/data/make_scenes.py --out '
            '.*nowhere; .*--cfg-options train_dataloader.dataset.data_root=DIR'
        ),
    ):
        tools.train(
            [
                config,
                '--work-dir',
                tmp_path,
                '--cfg-options',
                f'train_dataloader.dataset.data_root={tmp_path}/nowhere',
            ]
        )


def test_data_inside_wrappers_is_checked(tiny_config):
    cfg = Config.fromfile(str(tiny_config('wrapped')))
    leaf = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[leaf, dict(leaf, ann_file='absent.txt')]),
    )
    with pytest.raises(FileNotFoundError, match='absent.txt.*data/README.md|absent.txt'):
        check_datasets(cfg, 'train')
    cfg.train_dataloader.dataset.dataset.datasets.pop()
    check_datasets(cfg, 'train', 'val', 'test')


def test_incomplete_config(tiny_config, tools):
    config = tiny_config('no_schedule', train_cfg=None)
    with pytest.raises(ValueError, match='has no `train_cfg`, which training needs'):
        tools.train([config])


def test_launcher_without_its_variables(tiny_config, tools, monkeypatch, tmp_path):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(ValueError, match='--launcher pytorch: .* RANK is not set.*dist_train.sh'):
        tools.train([tiny_config('alone'), '--work-dir', tmp_path, '--launcher', 'pytorch'])


def test_amp_needs_a_wrapper_it_knows(tiny_config, tools):
    config = tiny_config(
        'odd_wrapper', optim_wrapper=dict(type='ApexOptimWrapper', optimizer=dict(type='SGD'))
    )
    with pytest.raises(ValueError, match="--amp: optim_wrapper.type is 'ApexOptimWrapper'"):
        tools.train([str(config), '--amp'])


def test_mistakes_end_in_one_sentence(tmp_path):
    done = run_script(sys.executable, ROOT / 'tools/train.py', tmp_path / 'absent.py')
    assert done.returncode == 1
    assert done.stderr.startswith('train.py: CONFIG: no config file')
    assert 'Traceback' not in done.stderr
    assert done.stdout == ''


def test_who_raised_decides_about_the_traceback(monkeypatch, capsys, tmp_path):
    def ours():
        check_datasets(
            Config(dict(val_dataloader=dict(dataset=dict(type='D', data_root=str(tmp_path / 'x'))))), 'val'
        )

    def theirs():
        json.loads('{')

    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        entry.run_tool(ours)
    assert exit_.value.code == 1
    assert 'D finds no' in capsys.readouterr().err
    with pytest.raises(json.JSONDecodeError):
        entry.run_tool(theirs)
    monkeypatch.setattr('signal.signal', lambda *args: None)
    with pytest.raises(SystemExit) as exit_:
        entry.run_tool(stopped, 'Go on with --resume.')
    assert exit_.value.code == 130
    assert 'interrupted. Go on with --resume.' in capsys.readouterr().err
    monkeypatch.setenv('KD_DEBUG', '1')
    with pytest.raises(FileNotFoundError):
        entry.run_tool(ours)


# ---------------------------------------------------------------- training


def test_options_and_seed_reach_the_run(tiny_config, tools, tmp_path):
    runner = tools.train(
        [
            tiny_config('seeded'),
            '--work-dir',
            tmp_path,
            '--seed',
            '7',
            '--cfg-options',
            'train_cfg.max_iters=1',
            'train_cfg.val_interval=9',
            'default_hooks.checkpoint.interval=1',
        ]
    )
    assert runner.iter == 1 and runner.seed == 7
    saved = torch.load(tmp_path / 'iter_1.pth', weights_only=False)
    assert saved['meta']['seed'] == 7


def test_resume_goes_on_where_it_stopped(tiny_config, tools, tmp_path, monkeypatch):
    config = tiny_config('resumed', iters=4)
    argv = [
        config,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'default_hooks.checkpoint.interval=2',
        'train_cfg.val_interval=9',
    ]
    tools.train([*argv, 'train_cfg.max_iters=2'])
    assert (tmp_path / 'iter_2.pth').exists()
    started = []
    monkeypatch.setattr(Runner, 'resume', _note_iter(Runner.resume, started))
    runner = tools.train([*argv, '--resume'])
    assert started == [2] and runner.iter == 4
    assert torch.load(tmp_path / 'iter_4.pth', weights_only=False)['meta']['iter'] == 4
    # of a named checkpoint, into another work dir
    runner = tools.train([config, '--work-dir', tmp_path / 'other', '--resume', tmp_path / 'iter_2.pth'])
    assert started == [2, 2] and runner.iter == 4


def _note_iter(resume, started: list):
    def wrapped(self, *args, **kwargs):
        resume(self, *args, **kwargs)
        started.append(self.iter)

    return wrapped


def test_resume_of_nothing_starts(tiny_config, tmp_path, capsys):
    cfg = Config.fromfile(str(tiny_config('fresh')))
    cfg.work_dir = str(tmp_path / 'none')
    load_tool('train').set_resume(cfg, 'auto')
    assert cfg.resume and cfg.load_from is None
    assert 'has no checkpoint yet' in capsys.readouterr().out


def test_resume_of_another_config_is_refused(tiny_teacher, tiny_config, tools):
    with pytest.raises(ValueError, match='holds the run of another config .*no stranger.py'):
        tools.train([tiny_config('stranger'), '--resume', '--work-dir', tiny_teacher.work_dir])


class _Payload:
    def __reduce__(self):
        return print, ('code from a checkpoint was run',)


def test_resume_does_not_unpickle(tiny_config, tools, tmp_path, capsys):
    torch.save(dict(state_dict={}, meta=_Payload()), tmp_path / 'bad.pth')
    with pytest.raises(ValueError, match='could run code'):
        tools.train([tiny_config('safe'), '--resume', tmp_path / 'bad.pth', '--work-dir', tmp_path])
    assert 'was run' not in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA has its own wrapper')
def test_amp_on_cpu_is_bfloat16(tiny_config, tools, tmp_path, monkeypatch):
    seen = set()
    convolve = torch.nn.Conv2d.forward

    def forward(self, x):
        out = convolve(self, x)
        seen.add((self.training, out.dtype))
        return out

    monkeypatch.setattr(torch.nn.Conv2d, 'forward', forward)
    runner = tools.train([tiny_config('amp', iters=2), '--work-dir', tmp_path, '--amp'])
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert type(runner.optim_wrapper).__name__ == 'CPUAmpOptimWrapper'
    assert next(runner.model.parameters()).dtype == torch.float32
    # a checkpoint of a GPU has a loss scale beside the optimizer's state
    state = dict(runner.optim_wrapper.state_dict(), loss_scaler=dict(scale=1.0))
    runner.optim_wrapper.load_state_dict(state)
    assert 'loss_scaler' in state


def test_log_is_quiet(tiny_config, tmp_path):
    done = run_script(
        sys.executable, ROOT / 'tools/train.py', tiny_config('quiet', iters=1), '--work-dir', tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ''
    assert 'OneDL' not in done.stdout
    assert 'Iter(train) [1/1]' in done.stdout


# ---------------------------------------------------------------- testing


def test_metrics_are_printed_and_kept(tiny_teacher, tools, tmp_path, capsys):
    kept_config = (tiny_teacher.work_dir / 'tiny_teacher.py').read_text()
    metrics = tools.test([tiny_teacher.config, tiny_teacher.checkpoint, '--work-dir', tiny_teacher.work_dir])
    printed = last_json(capsys.readouterr().out)
    record = json.loads((tiny_teacher.work_dir / 'test_iter_4.json').read_text())
    assert printed == record['metrics'] == pytest.approx(metrics, abs=1e-4)
    assert set(printed) == {'aAcc', 'mIoU', 'mAcc'}
    assert record['checkpoint'] == str(tiny_teacher.checkpoint)
    assert (tiny_teacher.work_dir / 'tiny_teacher.py').read_text() == kept_config


def test_distillation_config_with_every_checkpoint(tiny_distilled, tools, tmp_path, monkeypatch):
    import kd_methods.distill.algorithm as algorithm

    def refuse(*args, **kwargs):
        raise AssertionError('the teacher was built')

    monkeypatch.setattr(algorithm, 'FrozenTeacher', refuse)
    results = []
    plain = tiny_distilled.work_dir / 'student_config.py'
    for config, checkpoint in [
        (tiny_distilled.config, tiny_distilled.checkpoint),
        (tiny_distilled.config, tiny_distilled.student),
        (plain, tiny_distilled.checkpoint),
        (plain, tiny_distilled.student),
    ]:
        results.append(tools.test([config, checkpoint, '--work-dir', tmp_path]))
    assert all(r == results[0] for r in results)


def test_teacher_file_is_not_needed(tiny_distilled, tools, tmp_path):
    cfg = Config.fromfile(str(tiny_distilled.config))
    cfg.model.teacher_ckpt = str(tmp_path / 'gone.pth')
    cfg.model.teacher.cfg_path = str(tmp_path / 'gone.py')
    cfg.dump(str(tmp_path / 'moved.py'))
    metrics = tools.test([tmp_path / 'moved.py', tiny_distilled.student, '--work-dir', tmp_path / 'w'])
    assert 'mIoU' in metrics


def test_weights_of_another_network_are_refused(tiny_distilled, tiny_teacher, tools, tmp_path):
    with pytest.raises(ValueError, match='do not fit EncoderDecoder'):
        tools.test([tiny_distilled.config, tiny_teacher.checkpoint, '--work-dir', tmp_path])


def test_checkpoint_with_code_is_refused_unless_trusted(tiny_teacher, tools, tmp_path, capsys):
    saved = torch.load(tiny_teacher.checkpoint, weights_only=False)
    saved['extra'] = _Payload()
    torch.save(saved, tmp_path / 'bad.pth')
    argv = [tiny_teacher.config, tmp_path / 'bad.pth', '--work-dir', tmp_path]
    with pytest.raises(ValueError, match='could run code.*--trusted'):
        tools.test(argv)
    assert 'was run' not in capsys.readouterr().out
    tools.test([*argv, '--trusted'])
    assert 'was run' in capsys.readouterr().out


def test_missing_checkpoint(tiny_teacher, tools):
    with pytest.raises(FileNotFoundError, match='no file .*iter_9.pth.*iter_4.pth'):
        tools.test([tiny_teacher.config, tiny_teacher.work_dir / 'iter_9.pth'])


def test_predictions_and_pictures_are_kept(tiny_teacher, tools, tmp_path):
    argv = [tiny_teacher.config, tiny_teacher.checkpoint, '--work-dir', tmp_path]
    tools.test([*argv, '--out', tmp_path / 'maps', '--show-dir', tmp_path / 'show'])
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 5
    assert list((tmp_path / 'show').rglob('*.png'))
    tools.test([*argv, '--out', tmp_path / 'all.pkl'])
    predictions = pickle.loads((tmp_path / 'all.pkl').read_bytes())
    assert len(predictions) == 5 and 'pred_sem_seg' in predictions[0]


def test_out_needs_a_metric_that_writes(tiny_teacher, tiny_config, tools):
    config = tiny_config('depth_metric', test_evaluator=dict(type='DepthMetric'))
    with pytest.raises(ValueError, match='--out maps: only IoUMetric writes'):
        tools.test([str(config), str(tiny_teacher.checkpoint), '--out', 'maps'])


def test_tta(tiny_teacher, tiny_config, tools, tmp_path):
    argv = [tiny_teacher.checkpoint, '--work-dir', tmp_path, '--tta']
    with pytest.raises(ValueError, match='--tta: the config has no tta_model and no tta_pipeline'):
        tools.test([tiny_teacher.config, *argv])
    config = tiny_config(
        'tta',
        tta_model=dict(type='SegTTAModel'),
        tta_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                    [dict(type='LoadAnnotations')],
                    [dict(type='PackSegInputs')],
                ],
            ),
        ],
    )
    metrics = tools.test([config, *argv])
    assert 'mIoU' in metrics
    assert (tmp_path / 'test_iter_4_tta.json').exists()


# ---------------------------------------------------------------- boundaries


def _scores_of(folder: Path, scenes: Path, **kwargs) -> dict:
    """Boundary figures of label maps that `--out` has written."""
    import numpy as np
    from PIL import Image

    from kd_methods.evaluation import BoundaryIoUMetric

    metric = BoundaryIoUMetric(**kwargs)
    metric.dataset_meta = dict(classes=[str(i) for i in range(11)])
    for path in sorted(folder.glob('*.png')):
        pred, label = (
            torch.from_numpy(np.array(Image.open(p))) for p in (path, scenes / 'val/labels' / path.name)
        )
        metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
    assert len(metric.results) == 5
    return metric.compute_metrics(metric.results)


def test_boundary_stands_beside_miou(tiny_teacher, tiny_scenes, tools, tmp_path, capsys):
    argv = [tiny_teacher.config, tiny_teacher.checkpoint, '--work-dir', tmp_path]
    plain = tools.test(argv)
    metrics = tools.test([*argv, '--boundary', '--out', tmp_path / 'maps', '--show-dir', tmp_path / 'show'])
    printed = last_json(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / 'test_iter_4.json').read_text())['metrics']
    assert list(printed) == ['aAcc', 'mIoU', 'mAcc', 'mBIoU', 'trimap_mIoU']
    assert {k: metrics[k] for k in plain} == plain
    assert len(list((tmp_path / 'maps').glob('*.png'))) == 5 and list((tmp_path / 'show').rglob('*.png'))
    assert metrics == {**plain, **_scores_of(tmp_path / 'maps', tiny_scenes)}
    wide = tools.test([*argv, '--boundary', '9', '--out', tmp_path / 'all.pkl'])
    assert wide == {**plain, **_scores_of(tmp_path / 'maps', tiny_scenes, width=9)} != metrics
    assert (tmp_path / 'all.pkl').exists()


def test_boundary_takes_over_what_ioumetric_says(tiny_teacher):
    tool = load_tool('test')
    cfg = Config(
        dict(
            test_evaluator=[
                dict(type='Other'),
                dict(
                    type='mmseg.IoUMetric',
                    ignore_index=7,
                    nan_to_num=0,
                    prefix='seg',
                    iou_metrics=['mIoU'],
                    output_dir='x',
                ),
            ]
        )
    )
    tool.add_boundary(cfg, 3)
    assert [e.type for e in cfg.test_evaluator] == ['Other', 'mmseg.IoUMetric', 'BoundaryIoUMetric']
    assert dict(cfg.test_evaluator[2]) == dict(
        type='BoundaryIoUMetric', ignore_index=7, nan_to_num=0, prefix='seg', width=3
    )
    # one that the config has already stays the only one, and is no writer of label maps
    tool.add_boundary(cfg, 0)
    assert len(cfg.test_evaluator) == 3 and cfg.test_evaluator[2].width == 3
    tool.add_boundary(cfg, 5)
    assert len(cfg.test_evaluator) == 3 and cfg.test_evaluator[2].width == 5
    tool.keep_predictions(cfg, 'maps')
    assert cfg.test_evaluator[1].output_dir == 'maps' and 'output_dir' not in cfg.test_evaluator[2]


def test_boundary_with_tta_and_several_evaluators(tiny_teacher, tiny_config, tools, tmp_path):
    config = tiny_config(
        'tta_boundary',
        test_evaluator=[dict(type='IoUMetric', prefix='a'), dict(type='IoUMetric', prefix='b')],
        tta_model=dict(type='SegTTAModel'),
        tta_pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='TestTimeAug',
                transforms=[
                    [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                    [dict(type='LoadAnnotations')],
                    [dict(type='PackSegInputs')],
                ],
            ),
        ],
    )
    metrics = tools.test([config, tiny_teacher.checkpoint, '--work-dir', tmp_path, '--tta', '--boundary'])
    assert {'a/mIoU', 'b/mIoU', 'a/mBIoU', 'a/trimap_mIoU'} <= set(metrics)
    assert (
        json.loads((tmp_path / 'test_iter_4_tta.json').read_text())['metrics']['a/mBIoU']
        == metrics['a/mBIoU']
    )


def test_boundary_of_the_student_of_a_distillation(tiny_distilled, tools, tmp_path):
    metrics = tools.test(
        [tiny_distilled.config, tiny_distilled.student, '--work-dir', tmp_path, '--boundary', '2']
    )
    assert 0 <= metrics['mBIoU'] <= 100 and 0 <= metrics['trimap_mIoU'] <= 100


@pytest.mark.parametrize('width', ['0', '-1', '2.5', 'c.py'])
def test_boundary_width_is_a_number_of_pixels(width, capsys):
    parse = load_tool('test').parse_args
    assert parse(['c.py', 'c.pth', '--boundary', '4']).boundary == 4
    with pytest.raises(SystemExit):
        parse(['c.py', 'c.pth', f'--boundary={width}'])
    assert f'WIDTH must be a positive integer, in pixels. Got: {width!r}' in capsys.readouterr().err


@pytest.mark.parametrize(
    'options, words',
    [
        (
            dict(test_evaluator=dict(type='mmdet.CocoMetric')),
            r"--boundary is for semantic segmentation: .* \['CocoMetric'\]. Leave it out for a detector",
        ),
        (
            ['test_evaluator.format_only=True', 'test_evaluator.output_dir=x'],
            '--boundary: IoUMetric has format_only=True .*Set format_only=False there',
        ),
        (
            [
                'test_dataloader.dataset.pipeline.1.type=RandomFlip',
                'test_dataloader.dataset.pipeline.1.prob=0.',
            ],
            r'test_dataloader: the images come without labels \(gt_sem_seg\).*LoadAnnotations',
        ),
    ],
)
def test_boundary_needs_a_segmentor_and_labels(options, words, tiny_teacher, tiny_config, tools, tmp_path):
    config = tiny_teacher.config
    if isinstance(options, dict):
        config, options = tiny_config('other_metric', **options), []
    with pytest.raises(ValueError, match=words):
        tools.test(
            [
                str(config),
                str(tiny_teacher.checkpoint),
                '--work-dir',
                tmp_path,
                '--boundary',
                *(['--cfg-options', *options] if options else []),
            ]
        )


def test_ema_run_is_tested_with_its_average(tiny_config, tools, tmp_path):
    config = tiny_config('ema', custom_hooks=[dict(type='EMAHook', momentum=0.5)])
    runner = tools.train([config, '--work-dir', tmp_path])
    trained = runner.message_hub.get_scalar('val/aAcc').current()
    metrics = tools.test([config, tmp_path / 'iter_4.pth', '--work-dir', tmp_path])
    assert metrics['aAcc'] == pytest.approx(trained, abs=1e-3)


def test_nan_is_null_in_json(tmp_path, capsys):
    tool = load_tool('test')
    args = tool.parse_args(['c.py', 'x/best.pth'])
    tool.write_metrics(args, Config(dict(work_dir=tmp_path)), dict(mIoU=float('nan'), aAcc=12.34567))
    assert last_json(capsys.readouterr().out) == dict(mIoU=None, aAcc=12.3457)
    assert Path(tmp_path / 'test_best.json').exists()
