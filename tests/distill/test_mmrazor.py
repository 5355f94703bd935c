"""MMRazor's recipes and distillers under FrozenTeacherDistill."""

import copy
from pathlib import Path

import mmrazor
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from kd_methods.networks.config import resolve_model_cfg

SHIPPED = Path(mmrazor.__file__).parent / '.mim' / 'configs' / 'distill'
RECIPES = sorted(p for part in ('mmseg', 'mmdet') for p in (SHIPPED / part).rglob('*.py'))


def shrink(cfg):
    """Give a full model dict the least depth and width of its backbone's family; channels of necks and heads
    stay.
    """
    backbone = cfg.get('backbone', {})
    if 'base_width' in backbone:  # ResNeXt: the widths of its stages are fixed, the depth is not
        backbone.update(depth=50)
    elif backbone.get('type') == 'ResNet' and backbone.get('depth') == 101:
        backbone.update(depth=50)
    elif backbone.get('type') == 'SwinTransformer':
        backbone.update(depths=[1, 1, 1, 1])
    elif backbone.get('type') == 'ResNetV1c' and backbone.get('depth') == 101:
        backbone.update(depth=50)
    return cfg


def test_recipes_are_found():
    assert len(RECIPES) >= 12


@pytest.mark.parametrize(
    'full_size', [False, pytest.param(True, marks=pytest.mark.slow)], ids=['shallow', 'full size']
)
@pytest.mark.parametrize('path', RECIPES, ids=lambda p: p.stem)
@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_a_shipped_recipe_builds_after_changing_its_type_alone(path, full_size):
    """Checkpoints and downloads are off: nothing is loaded, and no network is initialised from a file."""
    cfg = Config.fromfile(str(path))
    model = cfg.model
    model.type, model.teacher_ckpt = 'FrozenTeacherDistill', None
    if full_size:
        for key in ('architecture', 'teacher'):
            model[key].pop('pretrained', None)  # downloads off
    else:
        for key in ('architecture', 'teacher'):  # the same networks, less deep
            entry = model[key]
            entry = resolve_model_cfg(
                {**entry, 'pretrained': False, 'downloads': False} if 'cfg_path' in entry else entry, key
            )
            model[key] = shrink(entry)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        built = MODELS.build(model)
    assert set(built.weights.active()) == set(cfg.model.distiller.distill_losses)
    assert built.teacher.mode == 'tensor' and built.teacher.recorder.stop, (
        "no recipe needs the teacher's losses"
    )


def cwd_recipe(segmentor, algorithm, **keys):
    """MMRazor's CWD recipe for segmentation, on small networks without dropout."""
    recipe = Config.fromfile(str(next(p for p in RECIPES if 'cwd_logits_pspnet' in p.name))).model
    return dict(
        recipe,
        type=algorithm,
        teacher_ckpt=None,
        architecture=segmentor(4, dropout=0, head='PSPHead', pool_scales=(1, 2)),
        teacher=dict(segmentor(8, dropout=0, head='PSPHead', pool_scales=(1, 2)), _scope_='mmseg'),
        **keys,
    )


def pair_of_algorithms(segmentor):
    ours, theirs = (
        cwd_recipe(segmentor, 'FrozenTeacherDistill'),
        cwd_recipe(segmentor, 'mmrazor.SingleTeacherDistill'),
    )
    theirs['architecture']['_scope_'] = ours['architecture']['_scope_'] = 'mmseg'
    torch.manual_seed(1)
    theirs, ours = MODELS.build(copy.deepcopy(theirs)), MODELS.build(copy.deepcopy(ours))
    theirs.train()
    ours.train()
    for network in (
        theirs.teacher,
        theirs.student,
    ):  # far from uniform logits, so that the loss is well above 0
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    ours.student.load_state_dict(theirs.student.state_dict())
    ours.teacher.model.load_state_dict(theirs.teacher.state_dict())
    theirs.teacher.eval()
    return ours, theirs


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_cwd_recipe_has_the_same_loss_as_under_mmrazors_algorithm(segmentor, batch, losses_of):
    ours, theirs = pair_of_algorithms(segmentor)
    for seed in range(3):
        got, expected = (losses_of(m, batch(seed=seed)) for m in (ours, theirs))
        assert expected['distill.loss_cwd'] > 1e-3
        torch.testing.assert_close(got['distill.loss_cwd'], expected['distill.loss_cwd'], rtol=1e-5, atol=0)
        torch.testing.assert_close(
            got['student.decode.loss_ce'], expected['student.decode.loss_ce'], rtol=1e-5, atol=0
        )


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_cwd_recipe_has_the_same_gradient(segmentor, batch, losses_of):
    ours, theirs = pair_of_algorithms(segmentor)
    for model in (ours, theirs):
        loss, _ = model.parse_losses(losses_of(model, batch()))
        loss.backward()
    for (name, p), (_, q) in zip(ours.student.named_parameters(), theirs.student.named_parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_mmrazors_validation_loop_tests_both_networks(segmentor, batch):
    from mmrazor.engine import SingleTeacherDistillValLoop

    ours, _ = pair_of_algorithms(segmentor)
    loop = SingleTeacherDistillValLoop.__new__(SingleTeacherDistillValLoop)
    own = ours.teacher.model.data_preprocessor
    loop.teacher = ours.teacher  # what the loop does to any algorithm with a teacher
    loop.teacher.data_preprocessor = ours.data_preprocessor
    assert loop.teacher.val_step(batch(1))[0].pred_sem_seg.data.shape == (1, 64, 64)
    assert (
        ours.teacher.model.data_preprocessor is own
    )  # the teacher is tested with its own preprocessing all the same


@pytest.mark.filterwarnings('ignore:model.teacher_ckpt')
def test_ofd_takes_its_margins_from_the_teacher(distill, batch, losses_of):
    source = dict(tap=dict(type='ModuleOutputs', source='backbone.layer4.1.bn1'))
    model = distill(
        distiller=dict(
            type='mmrazor.OFDDistiller',
            student_recorders=source,
            teacher_recorders=source,
            connectors=dict(
                student=dict(type='ConvModuleConnector', in_channel=32, out_channel=64, act_cfg=None),
                teacher=dict(type='OFDTeacherConnector'),
            ),
            distill_losses=dict(loss_ofd=dict(type='OFDLoss', loss_weight=0.1)),
            loss_forward_mappings=dict(
                loss_ofd=dict(
                    s_feature=dict(from_student=True, recorder='tap', connector='student'),
                    t_feature=dict(from_student=False, recorder='tap', connector='teacher'),
                )
            ),
        )
    )
    model.init_weights()
    assert model.distiller.connectors['teacher'].margin is not None
    assert losses_of(model, batch())['distill.loss_ofd'] > 0
