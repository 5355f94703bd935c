import math
from typing import Annotated, Literal

import pytest
from torch import Tensor

from kd_methods.utils.options import (
    Bounds,
    Count,
    NonNegative,
    Option,
    Positive,
    Share,
    check_choices,
    check_names,
    checked,
)

NAN, INF = math.nan, math.inf
# Type, values that it takes, values that it does not, the error, and what its sentence says.
KINDS = [
    (Literal['a', 'b'], ['a'], ['c', None, 1, ['a']], ValueError, "is not known. Possible: 'a', 'b'"),
    (Literal['a'] | None, ['a', None], ['b', 0], ValueError, "is not known. Possible: 'a', None"),
    (float, [-1, 2.5], ['1', None, True, NAN, INF], ValueError, 'must be a number. Got'),
    (
        NonNegative,
        [0, 2.5],
        [-1, NAN, INF, '1', None, True],
        ValueError,
        'must be a number of 0 or more. Got',
    ),
    (Positive, [0.1, 3], [0, -1, NAN, INF, 'auto'], ValueError, 'must be a number above 0. Got'),
    (Share, [0, 0.5, 1], [-0.1, 1.1, NAN, '0.5'], ValueError, 'must be a number from 0 to 1. Got'),
    (Count, [1, 7], [0, 1.0, NAN, True, '2', None], ValueError, 'must be a whole number of 1 or more. Got'),
    (Count | None, [1, None], [0, 2.5], ValueError, 'must be a whole number of 1 or more, or None. Got'),
    (Annotated[int, Bounds(4)], [4], [3], ValueError, 'must be a whole number of 4 or more. Got'),
    (int | None, [-1, 255, None], ['255', 1.5, True, [0]], TypeError, 'must be a whole number, or None. Got'),
    (bool, [True, False], ['False', 0, 1, None], TypeError, 'must be True or False. Got'),
    (str | None, ['x', '', None], [3, True], TypeError, 'must be a string, or None. Got'),
    (Annotated[float, 'a note'], [-1.5], ['1'], ValueError, 'must be a number. Got'),
]


@pytest.mark.parametrize(('kind', 'good', 'bad', 'error', 'text'), KINDS, ids=lambda x: str(x)[:30])
def test_a_type_says_what_is_possible(kind, good, bad, error, text):
    option = Option.read(kind)
    for value in good:
        option.check('Loss', 'way', value)
    for value in bad:
        with pytest.raises(error) as raised:
            option.check('Loss', 'way', value)
        message = str(raised.value)
        assert message.startswith('Loss: way') and text in message and repr(value) in message


@pytest.mark.parametrize('kind', [Tensor, Tensor | None, str | list | None, dict, 'float', Bounds])
def test_other_types_are_no_options(kind):
    assert Option.read(kind) is None


@checked
def function(x, form: Literal['l1', 'l2'] = 'l2', *, tau: Positive = 1.0, mask: Tensor | None = None):
    """The docstring."""
    return x, form, tau


def test_a_checked_function_checks_what_it_is_given():
    assert function(0, 'l1', tau=2) == (0, 'l1', 2) and function.__doc__ == 'The docstring.'
    with pytest.raises(ValueError, match="function: form='l3' is not known. Possible: 'l1', 'l2'"):
        function(0, 'l3')
    with pytest.raises(ValueError, match='function: tau must be a number above 0. Got: 0'):
        function(0, tau=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'way'"):
        function(0, way=1)
    assert function.unchecked(0, 'l3', tau=0) == (0, 'l3', 0)


def test_types_may_be_strings():
    """As in a module with ``from __future__ import annotations``."""

    @checked
    def late(x: 'Tensor', tau: 'Positive' = 1.0, form: "Literal['l1'] | None" = None):
        return tau

    assert late(0, 2) == 2
    with pytest.raises(ValueError, match='late: tau must be a number above 0'):
        late(0, tau=0)
    with pytest.raises(ValueError, match="late: form='l2' is not known. Possible: 'l1', None"):
        late(0, form='l2')


def test_a_checked_constructor_names_its_class():
    class Base:
        @checked
        def __init__(self, *others, width: Count = 1):
            self.width, self.others = width, others

    class Mine(Base):
        pass

    assert Mine('x', width=2).others == ('x',)
    with pytest.raises(ValueError, match='Mine: width must be a whole number of 1 or more. Got: 0'):
        Mine('x', width=0)


def test_choices():
    choices = dict(way=('there', 'back', None))
    check_choices('Loss', choices, way=None, other='anything')
    with pytest.raises(ValueError, match="Loss: way='up' is not known. Possible: 'there', 'back', None"):
        check_choices('Loss', choices, way='up')


def test_names():
    check_names('Loss', dict(way=1), {'way'})
    with pytest.raises(KeyError, match=r"Loss takes no \['wy'\]. Possible: \['way'\]"):
        check_names('Loss', dict(wy=1), {'way'})
