"""`tools/check.py` as a user runs it: what it prints, what it names as wrong, its exit codes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from toys import ROOT, load_tool


def network(width: int = 8, classes: int = 11) -> dict:
    norm_cfg = dict(type='BN', requires_grad=True)
    return dict(
        type='EncoderDecoder',
        _scope_='mmseg',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=255,
            size=(64, 64),
        ),
        backbone=dict(
            type='ResNetV1c',
            depth=18,
            stem_channels=width,
            base_channels=width,
            num_stages=4,
            out_indices=(0, 1, 2, 3),
            dilations=(1, 1, 2, 4),
            strides=(1, 2, 1, 1),
            norm_cfg=norm_cfg,
        ),
        decode_head=dict(
            type='FCNHead',
            in_channels=8 * width,
            in_index=3,
            channels=2 * width,
            num_convs=1,
            concat_input=False,
            num_classes=classes,
            norm_cfg=norm_cfg,
            align_corners=False,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


KL = dict(type='mmrazor.KLDivergence', reduction='mean', loss_weight=11.0)
L2 = dict(type='mmrazor.L2Loss')


def distiller(tap: str = 'logits', loss: dict = KL, **keys) -> dict:
    """Distillation of one tap."""
    names = ('preds_S', 'preds_T') if 'KL' in loss['type'] else ('s_feature', 't_feature')
    mapping = {name: dict(recorder='tap', from_student=i == 0) for i, name in enumerate(names)}
    return dict(
        type='MethodDistiller',
        taps=dict(tap=tap),
        distill_losses=dict(loss_kd=dict(loss)),
        loss_forward_mappings=dict(loss_kd=mapping),
        **keys,
    )


@pytest.fixture(scope='module')
def check(tiny_config, tmp_path_factory, tools):
    """`check(name, *argv, **model keys)`: exit code and output, for a pair with a trained teacher."""
    teacher = tiny_config('check_teacher', network(12), iters=60)
    work_dir = tmp_path_factory.mktemp('check')
    tools.train([str(teacher), '--work-dir', str(work_dir)])
    module = load_tool('check')

    def run(capsys, name, *argv, **keys):
        pair = dict(
            type='FrozenTeacherDistill',
            architecture=network(),
            teacher=network(12),
            teacher_ckpt=str(work_dir / 'iter_60.pth'),
            distiller=distiller(),
        )
        config = tiny_config(f'check_{name}', dict(pair, **keys))
        capsys.readouterr()
        code = module.main([str(config), *argv])
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    run.main = module.main
    run.teacher = teacher
    return run


def section(text: str, title: str) -> str:
    """A section of the report, blanks squeezed."""
    body = text.split(f'\n\n{title}\n', 1)[1].split('\n\n', 1)[0]
    return '\n'.join(' '.join(line.split()) for line in body.splitlines())


def test_healthy_pair(check, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = check(capsys, 'healthy')
    assert result.code == 0, result.out + result.err
    assert (
        'Nothing wrong was found.' in result.out
        and 'batch 2x3x64x64 from SceneDataset, 16 images' in result.out
    )
    assert 'student EncoderDecoder: ResNetV1c + FCNHead 11 ' in section(result.out, 'Networks')
    teacher = section(result.out, 'Teacher')
    assert ' 0 missing, 0 unexpected' in teacher and 'stops after decode_head.conv_seg (mode=' in teacher
    assert 'preprocessing shared' in teacher and 'on this batch cross-entropy' in teacher
    taps = section(result.out, 'Taps').splitlines()
    assert taps[1:] == [
        'tap = logits student decode_head.conv_seg 1 1x11x8x8 2x11x8x8 -',
        'tap = logits teacher decode_head.conv_seg 1 1x11x8x8 2x11x8x8 -',
    ]
    assert section(result.out, 'Adapters') == 'none'
    assert 'loss_kd' in section(result.out, 'Distillation losses')
    step = section(result.out, 'One training step')
    assert 'student.decode.loss_ce' in step and 'distill.loss_kd' in step
    assert list(tmp_path.iterdir()) == [], 'a check writes nothing'


def test_adapters_schedules_and_automatic_weights(check, capsys):
    up = dict(type='mmrazor.ConvModuleConnector', in_channel=64, out_channel=96, act_cfg=None)
    config = distiller(
        'backbone.-1',
        dict(L2, loss_weight='auto'),
        connectors=dict(up=up),
        loss_schedules=dict(loss_kd=dict(begin=2, warmup=10)),
    )
    config['loss_forward_mappings']['loss_kd']['s_feature']['connector'] = 'up'
    result = check(capsys, 'auto', distiller=config)
    assert result.code == 0, result.out + result.err
    assert 'connectors.up.conv_module.conv.weight 96x64x1x1 6.14 k trained' in section(result.out, 'Adapters')
    row = section(result.out, 'Distillation losses').splitlines()[1]
    assert 'from 2, warm-up 10 backbone' in row and row.endswith(' 0.3'), row
    assert 'distill.loss_kd 0' in section(result.out, 'One training step'), 'its schedule has not begun'


def test_own_preprocessing_is_described(check, capsys):
    teacher = network(12)
    teacher['data_preprocessor'].update(bgr_to_rgb=False)
    text = section(check(capsys, 'own', teacher=teacher).out, 'Teacher')
    assert 'its own' in text and 'channels swapped: student True, teacher False' in text


def test_tap_before_an_in_place_layer_is_protected(check, capsys):
    result = check(
        capsys,
        'inplace',
        distiller=distiller('decode_head.convs.0.bn', L2),
        teacher=network(),
        teacher_ckpt=None,
    )
    rows = section(result.out, 'Taps').splitlines()[1:]
    assert len(rows) == 2 and all(row.endswith(' protected') for row in rows), result.out + result.err


@pytest.mark.parametrize(
    'weight, words', [(11e6, 'the task hardly counts'), (11e-6, 'it hardly has an effect')]
)
def test_loss_out_of_proportion(check, capsys, weight, words):
    result = check(capsys, 'scale', distiller=distiller(loss=dict(KL, loss_weight=weight)))
    assert result.code == 1
    out = ' '.join(result.out.split())
    assert (
        'One thing is wrong x loss_kd is out of proportion' in out
        and words in out
        and "loss_weight='auto'" in out
    )


def test_loss_of_exactly_zero(check, capsys):
    config = distiller('backbone.-1', L2)
    config['loss_forward_mappings']['loss_kd']['t_feature']['from_student'] = (
        True  # the student teaches itself
    )
    result = check(capsys, 'zero', distiller=config)
    assert result.code == 1 and 'loss_kd is exactly 0 on this batch' in result.out


def test_student_that_cannot_learn(check, capsys):
    result = check(capsys, 'frozen', student_trainable=False)
    assert result.code == 2 and 'model.student_trainable=False leaves nothing to train' in result.err
    student = network(12)
    student['backbone']['frozen_stages'] = 4
    result = check(capsys, 'frozen_tap', architecture=student, distiller=distiller('backbone.-1', L2))
    assert result.code == 1 and 'needs no gradient' in result.out


def test_teacher_without_weights(check, capsys):
    result = check(capsys, 'unloaded', teacher_ckpt=None)
    assert result.code == 1 and 'The teacher is not loaded' in result.out


def test_teacher_that_knows_nothing_of_this_data(check, capsys):
    teacher = network(12)
    teacher['data_preprocessor'].update(mean=[-1e4] * 3, std=[0.01] * 3)
    result = check(capsys, 'untrained', teacher=teacher)
    assert (
        result.code == 1 and 'The teacher looks untrained on this data (labels? channel order?' in result.out
    )


def test_wrong_number_of_classes(check, capsys):
    result = check(capsys, 'classes', architecture=network(classes=7))
    assert result.code == 2 and 'the student have 7 classes' in result.err
    config = distiller('backbone.0', L2)  # features need not agree, but the labels have to
    result = check(
        capsys,
        'classes_of_data',
        architecture=network(classes=7),
        teacher=network(),
        teacher_ckpt=None,
        distiller=config,
    )
    assert result.code == 1 and 'SceneDataset has 11 classes, the student 7' in result.out
    assert 'The teacher has 11 classes, the student 7' in result.out


def test_wrong_tap_lists_near_names(check, capsys):
    result = check(capsys, 'tap', distiller=distiller('decode_head.conv_sec'))
    assert result.code == 2 and "Did you mean 'decode_head.conv_seg'" in result.err and not result.out


def test_missing_teacher_checkpoint(check, capsys):
    result = check(capsys, 'ckpt', teacher_ckpt='work_dirs/nowhere/best.pth')
    assert result.code == 2 and "no file 'work_dirs/nowhere/best.pth'" in result.err


def test_missing_data_says_how_to_go_on(check, capsys):
    argv = ['--cfg-options', 'train_dataloader.dataset.data_root=/nowhere']
    result = check(capsys, 'data', *argv)
    assert result.code == 2 and 'make_scenes.py' in result.err and '--no-data' in result.err
    result = check(capsys, 'data', '--no-data', '--batch', '3', '--size', '32', '48', *argv)
    assert 'noise (--no-data)' in result.out and ' at 32x48' in result.out, result.err


def test_noise_has_the_channels_of_both_networks(check, capsys):
    config = ROOT / 'configs/lix/lix_pspnet_duplex-r18-w16_pspnet_r18-w16_scenesrgbd.py'
    capsys.readouterr()
    check.main(
        [
            str(config),
            '--no-data',
            '--batch',
            '2',
            '--size',
            '64',
            '64',
            '--cfg-options',
            'model.teacher_ckpt=None',
            'model.architecture.init_cfg=None',
            'model.teacher.backbone.rgb.init_cfg=None',
        ]
    )
    out = ' '.join(capsys.readouterr().out.split())
    assert 'teacher EncoderDecoder: DuplexEncoder + PSPHead' in out and 'One training step' in out
    assert 'channels swapped' not in out  # both swap


def test_other_algorithm(check, capsys):
    result = check(capsys, 'razor', type='mmrazor.SingleTeacherDistill')
    assert result.code == 2 and 'model.type=FrozenTeacherDistill' in result.err


def test_taps_need_no_weights(check, capsys):
    result = check(
        capsys, 'taps', '--taps', teacher_ckpt='nowhere.pth', distiller=distiller('decode_head.conv_sec')
    )
    squeezed = '\n'.join(' '.join(line.split()) for line in result.out.splitlines())
    assert result.code == 0
    assert (
        'student (EncoderDecoder), one image of 64x64' in squeezed and 'teacher (EncoderDecoder)' in squeezed
    )
    assert (
        'backbone.3 backbone 1 1x96x8x8' in squeezed and 'logits decode_head.conv_seg 1 1x11x8x8' in squeezed
    )
    assert 'features decode_head.dropout (its input) 1 1x16x8x8' in squeezed
    assert 'backbone.layer1.0.relu 2 1x8x16x16' in squeezed


def test_plain_config(check, capsys):
    capsys.readouterr()
    assert check.main([str(check.teacher)]) == 0
    out = capsys.readouterr().out
    assert 'plain config' in out and 'decode.loss_ce' in section(out, 'One training step')
    assert 'Teacher' not in out


def test_a_batch_of_one_under_batch_norm_is_told_in_words(check, capsys):
    head = dict(network()['decode_head'], type='PSPHead', pool_scales=(1,))
    head = {key: value for key, value in head.items() if key not in ('num_convs', 'concat_input')}
    result = check(capsys, 'one', '--batch', '1', architecture=dict(network(), decode_head=head))
    assert result.code == 1 and 'Expected more than 1 value' not in result.out
    assert 'a batch of one image and batch norm on a 1 x 1 map' in ' '.join(result.out.split())


def test_a_validation_that_fails_is_known_beforehand(check, capsys):
    """Of sliding windows that fail, whole images are advised where these work."""
    slide = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))

    def words(name, **changes):
        result = check(capsys, name, architecture=dict(network(), **changes))
        return result.code, ' '.join(result.out.split())

    assert words('slide', test_cfg=slide)[0] == 0
    code, text = words('slide_broken', test_cfg=dict(slide, stride=(16,)))
    assert code == 1 and 'The validation fails on its first image (EncoderDecoder) with ValueError' in text
    assert "Set model.architecture.test_cfg.mode='whole', with which it works; it is 'slide'." in text
    code, text = words('mode', test_cfg=dict(mode='hole'))
    assert code == 1 and 'The validation fails' in text and "mode='whole'" not in text
