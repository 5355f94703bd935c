"""Files with several sets of weights: the averaged ones are taken, and the report says so."""

import logging
from collections import OrderedDict

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import MODELS

import kd_methods.networks.checkpoint as files
from kd_methods.distill.teacher import FrozenTeacher
from kd_methods.networks.pretrained import StrictPretrainedInit


def shifted(state: dict, prefix: str = '') -> OrderedDict:
    """Other weights of the same network."""
    return OrderedDict((prefix + k, v + 1) for k, v in state.items())


@pytest.fixture(scope='module')
def right():
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    return layers.state_dict()


def below(prefix: str, state: dict) -> OrderedDict:
    return OrderedDict((prefix + k, v) for k, v in state.items())


KINDS = {
    'timm': lambda w, o: dict(state_dict=o, state_dict_ema=w, epoch=3),
    'DeiT': lambda w, o: dict(model=o, model_ema=w, optimizer=dict(state={}, param_groups=[])),
    'a module of an average': lambda w, o: dict(model=o, ema=dict(module=w, updates=7)),
    'through DDP': lambda w, o: dict(model=below('module.', o), ema_state_dict=below('module.', w)),
    'of torch': lambda w, o: dict(model=o, swa_model=dict(below('module.', w), n_averaged=torch.tensor(3))),
    'self-supervised': lambda w, o: dict(student=below('module.', o), teacher=w),
    'order does not matter': lambda w, o: dict(ema=w, network=o),
}


@pytest.mark.parametrize('kind', KINDS)
def test_averaged_weights_are_taken(kind, right):
    state = files.extract_state_dict(KINDS[kind](right, shifted(right)))
    assert state.keys() - {'n_averaged'} == right.keys()
    assert all(torch.equal(state[k], v) for k, v in right.items())
    assert 'is taken, the averaged weights, not ' in files.choice_of(state)


def test_weights_of_mmengines_ema_hook_are_exchanged():
    """`EMAHook` writes the averages under `state_dict`, and those of the last step beside them."""
    model = torch.nn.Linear(2, 2)
    average = ExponentialMovingAverage(model)
    right = dict(model.state_dict())
    content = dict(state_dict=right, ema_state_dict=shifted(average.state_dict()))
    state = files.extract_state_dict(content)
    assert all(torch.equal(state[k], v) for k, v in right.items())
    assert "'state_dict' is taken, into which mmengine's EMAHook writes" in files.choice_of(state)


def test_the_doubles_of_mmcv_1_are_left_out(right):
    doubles = {f'ema_{k.replace(".", "_")}': v + 1 for k, v in right.items()}
    state = files.extract_state_dict(dict(state_dict={**right, **doubles}))
    assert state.keys() == right.keys() and 'mmcv 1' in files.choice_of(state)


@pytest.mark.parametrize(
    'make',
    [
        lambda w: dict(state_dict=w),
        lambda w: w,
        lambda w: dict(state_dict=w, optimizer=dict(state={0: dict(exp_avg=torch.ones(2))}, param_groups=[])),
        lambda w: dict(state_dict=w, rng=dict(torch=torch.ones(3)), ema_decay=0.9),
        lambda w: dict(net=w, epoch=1),
        lambda w: dict(state_dict=w, ema_loss=dict(mean=torch.ones(1))),
    ],
)
def test_one_set_needs_no_words(make, right):
    state = files.extract_state_dict(make(right))
    assert state.keys() == right.keys() and files.choice_of(state) == ''


def test_several_sets_of_which_none_is_said_to_be_an_average(right):
    state = files.extract_state_dict(dict(model=right, best_model=shifted(right)))
    assert all(torch.equal(state[k], v) for k, v in right.items())
    assert "'model' is taken, as no name says that others are averages, not 'best_model'" in state.choice


# ---------------------------------------------------------------- where it is told


@pytest.fixture
def network(segmentor):
    return MODELS.build(segmentor(4))


@pytest.fixture
def two(network, tmp_path):
    """A file of two sets, of which the averaged one is all ones."""
    ones = OrderedDict((k, torch.ones_like(v)) for k, v in network.state_dict().items())
    torch.save(dict(model=network.state_dict(), model_ema=ones), tmp_path / 'two.pth')
    return str(tmp_path / 'two.pth')


def is_average(network) -> bool:
    return all(bool((p == 1).all()) for p in network.parameters())


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


WORDS = "of several sets of weights 'model_ema' is taken, the averaged weights, not 'model'"


def test_the_report_of_a_teacher(network, two):
    assert WORDS in str(FrozenTeacher(network).load(two)) and is_average(network)


def test_the_log_of_load_from(network, two, log):
    files.load_start(network, files.extract_state_dict(files.safe_load(two)), two)
    assert WORDS in log.text and is_average(network)


@pytest.mark.parametrize('prefix', [None, 'backbone'])
def test_the_log_of_init_cfg(network, two, log, prefix):
    part = network.backbone if prefix else network
    StrictPretrainedInit(two, prefix=prefix)(part)
    assert WORDS in log.text and is_average(part)


def test_a_detector_of_semi_supervised_training_gives_its_teacher(network, tmp_path):
    """Two networks below prefixes in one set: the average of the student is the `teacher`."""
    plain = network.state_dict()
    ones = OrderedDict((f'teacher.{k}', torch.ones_like(v)) for k, v in plain.items())
    torch.save(dict(state_dict={**below('student.', plain), **ones}), tmp_path / 'semi.pth')
    report = FrozenTeacher(network).load(str(tmp_path / 'semi.pth'))
    assert is_average(network)
    assert "those below 'teacher.' are taken, not 'student.'" in str(report)


def test_the_student_of_a_distillation_checkpoint_of_mmrazor_stays_the_student(network):
    """A teacher that is no average lies beside it."""
    state = {**below('architecture.', network.state_dict()), **shifted(network.state_dict(), 'teacher.')}
    fitted = files.fit_names(files.extract_state_dict(dict(state_dict=state)), network.state_dict())
    assert all(torch.equal(fitted[k], v) for k, v in network.state_dict().items())
