import pytest
from torch import nn

from kd_methods.core.options import check_choices, check_names, parse_loss

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


def test_a_losss_arguments():
    given = dict(way='back', schedule=dict(warmup=5))
    parsed = parse_loss('distiller.loss', given, Loss, CHOICES)
    assert parsed == given and parsed is not given
    assert parse_loss('distiller.loss', None, Loss, CHOICES) is None
    with pytest.raises(TypeError, match=r"distiller.loss: expected a dict with some of \['loss_weight', .*Got: 0.5"):
        parse_loss('distiller.loss', 0.5, Loss, CHOICES)
    with pytest.raises(KeyError, match=r"distiller.loss: Loss takes no \['weight'\]"):
        parse_loss('distiller.loss', dict(weight=1), Loss, CHOICES)
    with pytest.raises(ValueError, match="distiller.loss: way='up' is not known"):
        parse_loss('distiller.loss', dict(way='up'), Loss, CHOICES)
