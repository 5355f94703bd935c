import pytest
from torch import nn

from kd_methods.distill.loss_config import parse_loss
from kd_methods.utils.checks import check_choices, check_names, check_numbers

CHOICES = dict(way=('there', 'back', None))


class Loss(nn.Module):
    def __init__(self, way='there', loss_weight=1.0):
        super().__init__()


def test_choices():
    check_choices('Loss', CHOICES, way=None, other='anything')
    with pytest.raises(ValueError, match="Loss: way='up' is not known. Possible: 'there', 'back', None"):
        check_choices('Loss', CHOICES, way='up')


def test_names():
    check_names('Loss', dict(way=1), {'way'})
    with pytest.raises(KeyError, match=r"Loss takes no \['wy'\]. Possible: \['way'\]"):
        check_names('Loss', dict(wy=1), {'way'})


@pytest.mark.parametrize('value', [-1, float('nan'), float('inf'), '1', None, True])
def test_numbers(value):
    check_numbers('Loss', weight=0, other=2.5)
    check_numbers('Loss', above=0, tau=0.1)
    with pytest.raises(ValueError, match=f'Loss: weight must be a number of 0 or more. Got: {value!r}'):
        check_numbers('Loss', weight=value)
    with pytest.raises(ValueError, match='Loss: tau must be a number above 0. Got: 0'):
        check_numbers('Loss', above=0, tau=0)


def test_a_losss_arguments():
    given = dict(way='back', schedule=dict(warmup=5))
    parsed = parse_loss('distiller.loss', given, Loss, CHOICES)
    assert parsed == given and parsed is not given
    assert parse_loss('distiller.loss', None, Loss, CHOICES) is None
    with pytest.raises(
        TypeError, match=r"distiller.loss: expected a dict with some of \['loss_weight', .*Got: 0.5"
    ):
        parse_loss('distiller.loss', 0.5, Loss, CHOICES)
    with pytest.raises(KeyError, match=r"distiller.loss: Loss takes no \['weight'\]"):
        parse_loss('distiller.loss', dict(weight=1), Loss, CHOICES)
    with pytest.raises(ValueError, match="distiller.loss: way='up' is not known"):
        parse_loss('distiller.loss', dict(way='up'), Loss, CHOICES)
    with pytest.raises(TypeError, match='distiller.loss.loss_weight: the weight must be a number'):
        parse_loss('distiller.loss', dict(loss_weight=None), Loss, CHOICES)
    with pytest.raises(KeyError, match=r"distiller.loss.schedule: a schedule has no \['start'\]"):
        parse_loss('distiller.loss', dict(schedule=dict(start=1)), Loss, CHOICES)
