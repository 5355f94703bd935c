"""Which trainings there are, what their configs say, and what makes a training another one."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from kd_methods.experiments.trials import RECORD, Arm, Trial, expand, parse_config, scale_schedule

PLAIN = """
model = dict(type='Net', width=4)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.1))
"""


@pytest.fixture
def plain(tmp_path) -> Path:
    path = tmp_path / 'plain.py'
    path.write_text(PLAIN)
    return path


def names(*args, **kwargs) -> list[str]:
    return [arm.name for arm in expand(*args, **kwargs)]


def test_names_of_configs():
    assert parse_config('alone=a/b.py') == ('alone', 'a/b.py')
    assert parse_config('configs/x/net_8x.py') == ('net_8x', 'configs/x/net_8x.py')
    assert parse_config('mmseg::pspnet/net.py') == ('net', 'mmseg::pspnet/net.py')
    assert parse_config('kd=mmseg::pspnet/net.py') == ('kd', 'mmseg::pspnet/net.py')
    own = 'out/runs/kd_tau=1/seed_0.py'  # of a sweep
    assert parse_config(own) == ('seed_0', own)


def test_settings_and_lengths_are_combined():
    settings = {'model.distiller.tau': [1, 4], 'optim_wrapper.optimizer.lr': [0.1]}
    arms = expand(['kd=a.py', 'b.py'], settings, lengths=[1, 0.5], options={'x': 3, 'model.distiller.tau': 9})
    assert [arm.name for arm in arms[:4]] == [
        'kd tau=1 lr=0.1',
        'kd tau=1 lr=0.1 x0.5',
        'kd tau=4 lr=0.1',
        'kd tau=4 lr=0.1 x0.5',
    ]
    assert len(arms) == 8 and arms[-1].name == 'b tau=4 lr=0.1 x0.5' and arms[-1].config == 'b.py'
    # a setting goes over an override of all
    assert arms[3].options == {'x': 3, 'model.distiller.tau': 4, 'optim_wrapper.optimizer.lr': 0.1}
    assert [arm.length for arm in arms[:2]] == [1, 0.5]


def test_keys_of_one_last_part_are_named_in_full():
    assert names(['a.py'], {'x.tau': [1], 'y.tau': [2], 'z.w': [3]}) == ['a x.tau=1 y.tau=2 w=3']


def test_values_are_named_as_they_are_typed():
    assert names(['a.py'], {'k': [[1, 2], 'text', None]}) == ['a k=[1, 2]', 'a k=text', 'a k=None']


@pytest.mark.parametrize(
    'configs, settings, said',
    [
        (['x/a.py', 'y/a.py'], {}, 'called a. Give configs'),
        (['a.py'], {'k': [1, 1]}, 'called a k=1. Give'),
        (['a.py'], {'k': ['x/y', 'x:y']}, 'called a k=x/y, a k=x:y. Give'),  # of one folder
    ],
)
def test_two_arms_of_one_name_are_refused(configs, settings, said):
    with pytest.raises(ValueError) as error:
        expand(configs, settings)
    assert said in str(error.value)


def test_a_longer_schedule_is_scaled_as_a_whole():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=100, val_interval=10),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=15, by_epoch=False),
                dict(type='CosineAnnealingLR', T_max=85, begin=15, end=100, by_epoch=False),
                dict(type='MultiStepLR', milestones=[60, 81]),
                dict(type='StepLR', step_size=30, gamma=0.1),
            ],
            model=dict(
                width=7,
                distiller=dict(
                    schedule=dict(warmup=50, end=80, decay='linear', decay_begin=None),
                    losses=[dict(weight=3, schedule=dict(begin=10))],
                    loss_schedules=dict(loss_kd=dict(warmup=20)),
                ),
            ),
        )
    )
    scale_schedule(cfg, 2.5)
    assert cfg.train_cfg == dict(max_iters=250, val_interval=10)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', begin=0, end=38, by_epoch=False),
        dict(type='CosineAnnealingLR', T_max=212, begin=38, end=250, by_epoch=False),
        dict(type='MultiStepLR', milestones=[150, 202]),
        dict(type='StepLR', step_size=75, gamma=0.1),
    ]
    assert cfg.model == dict(
        width=7,
        distiller=dict(
            schedule=dict(warmup=125, end=200, decay='linear', decay_begin=None),
            losses=[dict(weight=3, schedule=dict(begin=25))],
            loss_schedules=dict(loss_kd=dict(warmup=50)),
        ),
    )


def test_epochs_are_scaled_and_nothing_becomes_none():
    cfg = Config(
        dict(train_cfg=dict(max_epochs=12), param_scheduler=dict(begin=0, end=12, milestones=[8, 11]))
    )
    scale_schedule(cfg, 0.01)
    assert cfg.train_cfg.max_epochs == 1 and cfg.param_scheduler == dict(begin=0, end=1, milestones=[1, 1])


def test_a_schedule_without_a_length_is_refused():
    with pytest.raises(ValueError, match='neither max_iters nor max_epochs.*MyLoop'):
        scale_schedule(Config(dict(train_cfg=dict(type='MyLoop'))), 2)


def test_configs_of_trials(plain, tmp_path):
    options = {'model.width': 8, 'default_hooks.logger': dict(interval=1)}
    teacher = Arm('the teacher', str(plain))
    trial = Trial(Arm('kd tau=[1, 2]', str(plain), options, 2, teacher), 3, tmp_path / 'runs')
    assert trial.folder == tmp_path / 'runs' / 'kd_tau=_1_2_' / 'seed_3'
    assert trial.teacher.folder == tmp_path / 'runs' / 'the_teacher' / 'seed_3'
    trial.write_config()
    cfg = Config.fromfile(trial.config)
    assert cfg.model == dict(type='Net', width=8, teacher_ckpt=str(trial.teacher.folder / 'best.pth'))
    assert cfg.train_cfg.max_iters == 200 == trial.arm.duration
    assert cfg.randomness.seed == 3 and cfg.work_dir == str(trial.folder)
    assert 'randomness' not in trial.arm.cfg  # which other seeds use


@pytest.mark.parametrize(
    'text, said',
    [
        ('model = dict(', 'broken.py is not valid Python'),
        ("_base_ = './base.py'\nmodel = dict()", 'broken.py is not valid Python'),
        ('train_cfg = dict(max_iters=1)', 'has no `model`'),
        ('model = dict()', 'has no `train_cfg`'),
    ],
)
def test_configs_that_cannot_be_trained_are_refused(tmp_path, text, said):
    (tmp_path / 'base.py').write_text('train_cfg = dict(')
    (tmp_path / 'broken.py').write_text(text)
    with pytest.raises(ValueError) as error:
        Arm('a', str(tmp_path / 'broken.py')).cfg  # noqa: B018
    assert str(error.value).startswith('CONFIG: ') and said in str(error.value)


def test_another_place_or_name_is_the_same_training(plain, tmp_path):
    trial = Trial(Arm('a', str(plain)), 0, tmp_path)
    assert Trial(Arm('b', str(plain)), 0, tmp_path / 'other', predictions=True).key == trial.key


def test_config_and_seed_make_another_training(plain, tmp_path):
    arm = Arm('a', str(plain))
    trials = [
        Trial(arm, 0, tmp_path),
        Trial(arm, 1, tmp_path),
        Trial(Arm('a', str(plain), {'optim_wrapper.optimizer.lr': 0.2}), 0, tmp_path),
        Trial(Arm('a', str(plain), length=2), 0, tmp_path),
    ]
    assert len({trial.key for trial in trials}) == len(trials)
    assert Trial(arm, 0, tmp_path, test='best').key == trials[0].key


def test_settings_follow_the_networks_of_a_distillation_config(tiny_distill_cfg, tmp_path):
    def trial(**options) -> Trial:
        return Trial(Arm('tiny', str(tiny_distill_cfg), options), 0, tmp_path)

    teacher = trial().cfg.model.teacher
    assert 'cfg_path' not in teacher and teacher.type == 'EncoderDecoder'
    assert trial().key == trial().key
    for key in ('model.distiller.distill_losses.loss_logits.tau', 'model.teacher.decode_head.dropout_ratio'):
        assert trial(**{key: 0.02}).key != trial().key


def test_a_plain_model_is_compared_whatever_the_distilled_ones_are_told(plain, tiny_distill_cfg, tmp_path):
    options = {'model.teacher_ckpt': 'other.pth', 'model.distiller.x': 1, 'train_cfg.max_iters': 7}
    options.update({'model.cache_teacher': 'c', 'model.width': 5})
    alone, distilled = (Arm('a', str(path), options).cfg for path in (plain, tiny_distill_cfg))
    assert alone.model.to_dict() == dict(type='Net', width=5)
    assert distilled.model.teacher_ckpt == 'other.pth' and distilled.model.distiller.x == 1
    assert alone.train_cfg.max_iters == distilled.train_cfg.max_iters == 7


def test_the_teachers_weights_make_another_training(tiny_distill_cfg, tmp_path):
    file = tmp_path / 'teacher.pth'

    def key() -> str:
        return Trial(Arm('a', str(tiny_distill_cfg), {'model.teacher_ckpt': str(file)}), 0, tmp_path).key

    missing = key()
    file.write_bytes(b'1')
    first = key()
    file.write_bytes(b'2')
    assert len({missing, first, key()}) == 3
    file.write_bytes(b'1')
    assert key() == first


def test_the_training_of_the_teacher_makes_another_training(plain, tmp_path):
    def trial(root: Path, **options) -> Trial:
        return Trial(Arm('a', str(plain), teacher=Arm('t', str(plain), options)), 0, root)

    assert trial(tmp_path).key == trial(tmp_path / 'elsewhere').key
    assert trial(tmp_path).key != trial(tmp_path, **{'model.width': 5}).key
    assert trial(tmp_path).key != Trial(Arm('a', str(plain)), 0, tmp_path).key


def test_records_of_other_settings_do_not_count(plain, tmp_path):
    trial = Trial(Arm('a', str(plain)), 0, tmp_path)
    assert trial.record() == {} and not trial.is_done()
    trial.folder.mkdir(parents=True)
    (trial.folder / RECORD).write_text(json.dumps(dict(key=trial.key, result='last', done=True)))
    assert trial.is_done() and not Trial(trial.arm, 0, tmp_path, test='best').is_done()
    plain.write_text(PLAIN.replace('width=4', 'width=5'))
    changed = Trial(Arm('a', str(plain)), 0, tmp_path)
    assert changed.record() == {} and not changed.is_done()


def test_written_config_of_an_rgbx_run_keeps_the_order_of_its_channels(tmp_path):
    """What a sweep trains is the config that it was given: mmengine sorts keys when it writes."""
    config = 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py'
    trial = Trial(Arm('lix', config), 0, tmp_path)
    trial.folder.mkdir(parents=True)
    trial.write_config()
    written = Config.fromfile(trial.config).model.inputs.channels
    assert [tuple(pair) for pair in written] == [('rgb', 3), ('depth', 1)]
