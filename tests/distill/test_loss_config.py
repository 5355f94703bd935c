from typing import Literal

import pytest
from torch import nn

from kd_methods.distill.loss_config import add_parsed, check_unknown, check_weight, parse_loss, parse_losses
from kd_methods.utils.options import NonNegative


class Loss(nn.Module):
    def __init__(self, way: Literal['there', 'back'] = 'there', loss_weight: NonNegative = 1.0):
        super().__init__()


class Distiller:
    def __init__(self, feature=None, **options):
        self.added = []

    def add_loss(self, *args, **mapping):
        self.added.append((*args, mapping))


def test_a_losss_arguments():
    given = dict(way='back', schedule=dict(warmup=5))
    parsed = parse_loss('distiller.loss', given, Loss)
    assert parsed == given and parsed is not given
    assert parse_loss('distiller.loss', None, Loss) is None
    assert parse_loss('distiller.loss', dict(loss_weight='auto'), Loss) == dict(loss_weight='auto')


@pytest.mark.parametrize(
    ('cfg', 'error', 'text'),
    [
        (0.5, TypeError, r"distiller.loss: expected a dict with some of \['loss_weight', .*Got: 0.5"),
        (dict(weight=1), KeyError, r"distiller.loss: Loss takes no \['weight'\]"),
        (dict(way='up'), ValueError, "distiller.loss: way='up' is not known. Possible: 'there', 'back'"),
        (dict(loss_weight=None), TypeError, 'distiller.loss.loss_weight: the weight must be a number'),
        (dict(loss_weight=-1), ValueError, 'distiller.loss.loss_weight: the weight must be a number of 0 or'),
        (dict(schedule=dict(start=1)), KeyError, r"distiller.loss.schedule: a schedule has no \['start'\]"),
    ],
)
def test_mistakes_come_with_their_key(cfg, error, text):
    with pytest.raises(error, match=text):
        parse_loss('distiller.loss', cfg, Loss)


@pytest.mark.parametrize('weight', [True, 'much', None, [1]])
def test_what_is_no_weight(weight):
    with pytest.raises(TypeError, match="key: the weight must be a number, 'auto' or dict"):
        check_weight('key', weight)


@pytest.mark.parametrize('weight', [-1, float('nan'), float('inf')])
def test_a_weight_out_of_bounds(weight):
    with pytest.raises(ValueError, match=f'key: the weight must be a number of 0 or more. Got: {weight}'):
        check_weight('key', weight)


def test_one_loss_is_left_on():
    assert parse_losses(Distiller, one=({}, Loss), two=(None, Loss)) == [{}, None]
    with pytest.raises(
        ValueError, match='distiller: one=None and two=None leave Distiller nothing to distil'
    ):
        parse_losses(Distiller, one=(None, Loss), two=(None, Loss))


def test_unknown_keywords_of_a_distiller():
    check_unknown(Distiller, dict(way='back'), Loss)
    with pytest.raises(KeyError, match=r"distiller: Distiller takes no \['way'\]. Possible: \['feature'\]"):
        check_unknown(Distiller, dict(way='back'))
    with pytest.raises(KeyError, match=r"takes no \['way'\]. Possible: \['feature', 'loss_weight'\]"):
        check_unknown(Distiller, dict(way='back'), Loss, without=('way',))


def test_a_parsed_loss_is_added_with_its_schedule():
    distiller, cfg = Distiller(), dict(way='back', schedule=dict(warmup=5))
    add_parsed(distiller, 'loss_mine', Loss, cfg, x=dict(from_data='x'))
    loss = dict(type='Loss', way='back')
    assert distiller.added == [('loss_mine', loss, dict(warmup=5), dict(x=dict(from_data='x')))]
    assert cfg == dict(way='back', schedule=dict(warmup=5))
