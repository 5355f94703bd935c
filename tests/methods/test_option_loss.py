"""What all losses have from their base: options stated once, in the signature of the function."""

import ast
import copy
import inspect
import math
import pickle
import re
from typing import Literal

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor

import kd_methods  # noqa: F401
from kd_methods import methods
from kd_methods.methods.option_loss import OptionLoss
from kd_methods.utils.options import Count, NonNegative, Option, checked, read_options

LOSSES = [value for name, value in vars(methods).items() if name in methods.__all__ and name.endswith('Loss')]
REQUIRED = dict(student_channels=4, teacher_channels=8)
calls = []


@checked
def my_loss(
    x: Tensor, form: Literal['l1', 'l2'] = 'l2', power: NonNegative = 1.0, mask: Tensor | None = None
):
    """A loss."""
    calls.append((form, power))
    return x.sum()


class MyLoss(OptionLoss, function=my_loss, loss_weight=3.0):
    def forward(self, x):
        return self.loss_weight * self.function(x, **self.options)


class WideLoss(OptionLoss, function=my_loss, without=('power',)):
    shown = ('channels',)

    @checked
    def __init__(self, channels: Count, **options):
        super().__init__(**options)
        self.channels = channels


def needed(loss):
    return {name: channels for name, channels in REQUIRED.items() if name in parameters(loss)}


def parameters(loss):
    return {name: (p.kind.name, p.default) for name, p in inspect.signature(loss).parameters.items()}


def test_the_signature_is_that_of_the_function():
    kind = 'POSITIONAL_OR_KEYWORD'
    assert parameters(MyLoss) == dict(form=(kind, 'l2'), power=(kind, 1.0), loss_weight=(kind, 3.0))
    keyword = 'KEYWORD_ONLY'
    assert parameters(WideLoss) == dict(
        channels=(kind, inspect.Parameter.empty), form=(keyword, 'l2'), loss_weight=(keyword, 1.0)
    )

    class Derived(MyLoss):
        pass

    class Closed(WideLoss):
        def __init__(self, width=3):
            super().__init__(width)

    assert parameters(Derived) == parameters(MyLoss) and parameters(Closed) == dict(width=(kind, 3))


def test_options_by_position_and_keyword():
    assert MyLoss().options == dict(form='l2', power=1.0) and MyLoss().loss_weight == 3.0
    assert MyLoss('l1', loss_weight=0).options['form'] == 'l1'
    assert repr(MyLoss('l1')) == "MyLoss(form='l1', power=1.0, loss_weight=3.0)"
    assert repr(WideLoss(2, form='l1')) == "WideLoss(channels=2, form='l1', loss_weight=1.0)"
    for build_wrong in (lambda: MyLoss(way=1), lambda: WideLoss(1, way=1), lambda: WideLoss(1, power=1.0)):
        with pytest.raises(TypeError, match='unexpected keyword argument'):
            build_wrong()


def test_options_are_checked_once_at_construction():
    loss = MyLoss()
    loss.options['form'] = 'unknown to the function'
    assert loss(torch.ones(2)) == 6 and calls[-1] == ('unknown to the function', 1.0)
    with pytest.raises(ValueError, match="MyLoss: form='l3' is not known. Possible: 'l1', 'l2'"):
        MyLoss('l3')
    with pytest.raises(ValueError, match='WideLoss: channels must be a whole number of 1 or more. Got: 0'):
        WideLoss(0)


@pytest.mark.parametrize('loss', LOSSES)
def test_wrong_types_are_refused(loss):
    for name, option in read_options(inspect.signature(loss).parameters).items():
        for value in ('abc', [1], math.nan, 5 if option.type is bool else True):
            message = f'{loss.__name__}: {name}.*{re.escape(repr(value))}'
            with pytest.raises((ValueError, TypeError), match=message):
                loss(**{**needed(loss), name: value})


@pytest.mark.parametrize('loss', LOSSES)
def test_losses_are_copied_and_pickled(loss):
    module = MODELS.build(dict(type=loss.__name__, **needed(loss)))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert twin.options == module.options and twin.loss_weight == module.loss_weight
        assert repr(twin) == repr(module)
        twin.load_state_dict(module.state_dict())


@pytest.mark.parametrize('loss', LOSSES)
def test_docstrings_say_what_the_signature_says(loss):
    """Each option with its choices and its default."""
    text = inspect.getdoc(loss).split('Args:\n')[1].split('\n\n')[0]
    found = re.finditer(r'^    (\w+) \(.*?\): (.*?)(?=^    \w|\Z)', text, re.M | re.S)
    entries = {match[1]: ' '.join(match[2].split()) for match in found}
    takes = inspect.signature(loss).parameters
    assert set(entries) == set(takes)
    for name, parameter in takes.items():
        option = Option.read(parameter.annotation)
        for choice in option.choices if option else ():
            assert repr(choice) in entries[name], (name, choice)
        if parameter.default is not inspect.Parameter.empty:
            default = re.search(r'Defaults to (.*?)(?:: .*)?\.(?: |$)', entries[name])[1]
            assert ast.literal_eval(default) == parameter.default, name
