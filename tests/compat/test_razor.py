"""MMRazor's distillation part: everything builds from configs, in every scope."""

import importlib
import pkgutil

import mmengine.registry as root
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn import functional as F

import kd_methods  # noqa: F401

BN = dict(type='BN')
LOSSES = {
    name: {}
    for name in (
        'ABLoss ATLoss ActivationLoss AngleWiseRKD ChannelWiseDivergence CrossEntropyLoss DISTLoss DKDLoss '
        'DistanceWiseRKD FBKDLoss FTLoss InformationEntropyLoss KDSoftCELoss KLDivergence L1Loss L2Loss '
        'MGDLoss OFDLoss OnehotLikeLoss PKDLoss WSLD'
    ).split()
} | {'CRDLoss': dict(neg_num=4, sample_n=8, dim_out=4)}
CONNECTORS = {
    'BYOTConnector': dict(in_channel=8, out_channel=8, num_classes=3),
    'CRDConnector': dict(dim_in=8, dim_out=4),
    'ConvModuleConnector': dict(in_channel=4, out_channel=8, norm_cfg=BN),
    'FBKDStudentConnector': dict(in_channels=8, sub_sample=True),
    'FBKDTeacherConnector': dict(in_channels=8, sub_sample=True),
    'MGDConnector': dict(student_channels=4, teacher_channels=8),
    'NormConnector': dict(in_channels=4, norm_cfg=dict(type='BN')),
    'OFDTeacherConnector': {},
    'Paraphraser': dict(in_channel=4, out_channel=8),
    'TorchFunctionalConnector': dict(function_name='relu'),
    'TorchNNConnector': dict(module_name='AvgPool2d', module_args=dict(kernel_size=2)),
    'Translator': dict(in_channel=4, out_channel=8),
}
GENERATORS = {
    name: dict(img_size=8, latent_dim=4, hidden_channels=4) for name in ('DAFLGenerator', 'ZSKTGenerator')
}
RECORDERS = {
    f'{kind}Recorder': dict(source='pathlib.Path.joinpath')
    for kind in (
        'FunctionInputs FunctionOutputs MethodInputs MethodOutputs ModuleInputs ModuleOutputs Parameter'
    ).split()
}
DELIVERIES = {
    'FunctionOutputsDelivery': dict(func_path='os.path.join', max_keep_data=1),
    'MethodOutputsDelivery': dict(method_path='pathlib.Path.joinpath', max_keep_data=1),
}
ALL = [
    (registry, name, args)
    for registry, group in (
        ('MODELS', LOSSES | CONNECTORS | GENERATORS),
        ('TASK_UTILS', RECORDERS | DELIVERIES),
    )
    for name, args in group.items()
]


def types_in(package: str) -> set:
    """What the modules of a package register."""
    found = set()
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f'{package}.{info.name}')
        for registry in (mmrazor_registry().MODELS, mmrazor_registry().TASK_UTILS):
            found |= {
                name for name, item in registry.module_dict.items() if item.__module__ == module.__name__
            }
    return found


def mmrazor_registry():
    return importlib.import_module('mmrazor.registry')


@pytest.mark.parametrize(
    'package, tested',
    [
        ('mmrazor.models.losses', LOSSES),
        ('mmrazor.models.architectures.connectors', CONNECTORS),
        ('mmrazor.models.architectures.generators', GENERATORS),
        ('mmrazor.models.task_modules.recorder', RECORDERS),
        ('mmrazor.models.task_modules.delivery', DELIVERIES),
    ],
)
def test_lists_here_are_complete(package, tested):
    assert types_in(package) == set(tested)


@pytest.mark.parametrize('registry, name, args', ALL, ids=[name for _, name, _ in ALL])
def test_builds_from_a_config(registry, name, args):
    by_prefix = getattr(root, registry).build(dict(type=f'mmrazor.{name}', **args))
    by_scope = getattr(root, registry).build(dict(type=name, _scope_='mmrazor', **args))
    assert type(by_prefix) is type(by_scope) and type(by_scope).__name__ == name
    with DefaultScope.overwrite_default_scope('mmseg'):
        assert type(getattr(root, registry).build(dict(type=f'mmrazor.{name}', **args))).__name__


# ---------------------------------------------------------------- algorithms


class Net(BaseModel):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 5, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.head(F.relu(self.bn(self.conv(inputs)))).square().mean())


@pytest.fixture
def net():
    """The type name of a small network, registered in mmengine's root registry for a test."""
    root.MODELS.register_module(name='CompatTestNet', module=Net)
    yield 'CompatTestNet'
    root.MODELS.module_dict.pop('CompatTestNet')


def wiring(loss: str, source: str = 'head', names=('preds_S', 'preds_T'), **teacher) -> dict:
    """A distiller's config: one loss between two records."""
    recorder = dict(tap=dict(type='ModuleOutputs', source=source))
    inputs = {name: dict(recorder='tap', from_student=name == names[0]) for name in names}
    inputs[names[1]].update(teacher)
    return dict(
        student_recorders=recorder,
        teacher_recorders=recorder,
        distill_losses=dict(loss_kd=dict(type=loss)),
        loss_forward_mappings=dict(loss_kd=inputs),
    )


def algorithm(name: str, net: str) -> dict:
    """A config of each of MMRazor's algorithms."""
    kd = dict(type='ConfigurableDistiller', **wiring('ChannelWiseDivergence'))
    ofd = wiring('OFDLoss', 'bn', ('s_feature', 't_feature'), connector='margin')
    ofd.update(type='OFDDistiller', connectors=dict(margin=dict(type='OFDTeacherConnector')))
    many = dict(kd, teacher_recorders=dict(tap=dict(type='ModuleOutputs', source='one.head')))
    teacher = dict(type=net, width=8 if name == 'SingleTeacherDistill' else 4)
    keys = dict(
        SingleTeacherDistill=dict(teacher=teacher, distiller=kd),
        FpnTeacherDistill=dict(teacher=teacher, distiller=kd),
        SelfDistill=dict(distiller=dict(kd, type='BYOTDistiller')),
        OverhaulFeatureDistillation=dict(teacher=teacher, distiller=ofd),
        DataFreeDistillation=dict(
            distiller=many, generator_distiller=many,
            teachers=dict(one=dict(build_cfg=teacher)),
            generator=dict(type='DAFLGenerator', **GENERATORS['DAFLGenerator'])),
    )  # fmt: skip
    keys['DAFLDataFreeDistillation'] = keys['DataFreeDistillation']
    return dict(type=name, architecture=dict(type=net), **keys[name])


ALGORITHMS = (
    'SingleTeacherDistill FpnTeacherDistill SelfDistill OverhaulFeatureDistillation DataFreeDistillation '
    'DAFLDataFreeDistillation'
).split()


@pytest.mark.parametrize('name', ALGORITHMS)
def test_algorithm_builds(name, net):
    prefixed = algorithm(f'{name}', net)
    model = root.MODELS.build(dict(prefixed, _scope_='mmrazor'))
    assert type(model).__name__ == name and isinstance(model.architecture, Net)


@pytest.mark.parametrize('name', ['SingleTeacherDistill', 'SelfDistill', 'OverhaulFeatureDistillation'])
def test_algorithm_computes_losses(name, net):
    model = root.MODELS.build(dict(algorithm(name, net), _scope_='mmrazor'))
    losses = model(torch.randn(2, 3, 8, 8), None, mode='loss')
    assert set(losses) == {'student.loss', 'distill.loss_kd'}
    sum(losses.values()).backward()
    assert model.architecture.conv.weight.grad.isfinite().all()


class InPlaceNet(Net):
    """Its map is changed by the in-place layer behind it."""

    def __init__(self, width=4):
        super().__init__(width)
        self.stage = nn.Sequential(self.conv, nn.Sequential(nn.ReLU(inplace=True)))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.head(self.stage(inputs)).square().mean())


def test_recorded_map_is_not_changed_by_the_layer_behind_it(net):
    root.MODELS.register_module(name=net, module=InPlaceNet, force=True)
    kd = dict(type='ConfigurableDistiller', **wiring('L2Loss', 'conv', ('s_feature', 't_feature')))
    config = dict(architecture=dict(type=net), teacher=dict(type=net), distiller=kd, _scope_='mmrazor')
    model = root.MODELS.build(dict(config, type='SingleTeacherDistill'))
    images = torch.randn(2, 3, 8, 8)
    model(images, None, mode='loss')
    for network, manager in (
        (model.student, model.distiller.student_recorders),
        (model.teacher, model.distiller.teacher_recorders),
    ):
        recorded = manager.get_recorder('tap').get_record_data()
        assert recorded.min() < 0  # a ReLU would have left none
        torch.testing.assert_close(recorded, network.conv(images))


def test_hooks_loops_and_constructor():
    from mmengine.visualization import Visualizer

    Visualizer.get_instance('compat_test')
    stop = root.HOOKS.build(dict(type='mmrazor.StopDistillHook', stop_epoch=2))
    assert stop.stop_epoch == 2
    tap = dict(tap=dict(type='ModuleOutputs', source='head'))
    draw = dict(type='RazorVisualizationHook', recorders=tap, mappings={}, _scope_='mmrazor')
    assert type(root.HOOKS.build(draw)).__name__ == 'RazorVisualizationHook'
    for name in ('SingleTeacherDistillValLoop', 'SelfDistillValLoop'):
        assert root.LOOPS.get(f'mmrazor.{name}').__name__ == name
    assert root.OPTIM_WRAPPER_CONSTRUCTORS.get('mmrazor.SeparateOptimWrapperConstructor')


def test_kd_soft_cross_entropy_has_its_function():
    """Its function comes from mmcls, which is not installed."""
    loss = root.MODELS.build(dict(type='mmrazor.KDSoftCELoss', tau=2.0, loss_weight=3.0))
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    expected = 3 * 4 * F.cross_entropy(student / 2, (teacher / 2).softmax(-1))
    torch.testing.assert_close(loss(student, teacher), expected)
    weight = torch.arange(6.0)
    each = loss(student, teacher, reduction_override='none')
    torch.testing.assert_close(each.mean(), expected)
    torch.testing.assert_close(loss(student, teacher, weight, 4), (each * weight).sum() / 4)


# ---------------------------------------------------------------- scopes


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmseg', 'mmdet', 'mmrazor'])
def test_root_types_resolve_from_every_scope(scope, net):
    with DefaultScope.overwrite_default_scope(scope):
        assert type(root.MODELS.build(dict(type=net))) is Net
    if scope:
        assert type(root.MODELS.build(dict(type=net, _scope_=scope))) is Net


def test_root_types_resolve_inside_mmrazors_own_build(net):
    """MMRazor builds losses and architectures in its own registry."""
    from mmrazor.registry import MODELS

    assert type(MODELS.build(dict(type=net))) is Net


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet'])
def test_cross_entropy_of_the_packages_is_undisturbed(scope):
    with DefaultScope.overwrite_default_scope(scope):
        loss = root.MODELS.build(dict(type='CrossEntropyLoss', use_sigmoid=True))
        assert type(loss).__module__.startswith(f'{scope}.')
        assert root.MODELS.get('mmrazor.CrossEntropyLoss').__module__.startswith('mmrazor.')
