from types import SimpleNamespace

import pytest

from kd_methods.distill.levels import check_features, level_taps, pair_levels
from kd_methods.networks.probe import Firing, Probe


def probe(role='student', **outputs):
    return Probe(
        SimpleNamespace(), role, {part: [Firing(0, None, shapes)] for part, shapes in outputs.items()}
    )


LEVELS = [(1, 4, 8, 8), (1, 8, 4, 4)]


def test_every_level_where_none_is_named():
    student, teacher = probe(neck=LEVELS, backbone=LEVELS * 2), probe('teacher', neck=LEVELS)
    assert level_taps(student, 'backbone', 'distiller') == [f'backbone.{i}' for i in range(4)]
    given = dict(student=None, teacher=None)
    assert pair_levels(student, teacher, given, 'neck', 'distiller') == dict(
        level_0=dict(student='neck.0', teacher='neck.0'), level_1=dict(student='neck.1', teacher='neck.1')
    )


def test_named_ones_are_paired_in_their_order():
    given = dict(student='backbone.3', teacher=['backbone.1'])
    assert pair_levels(probe(), probe('teacher'), given, 'neck', 'distiller') == dict(
        level_0=dict(student='backbone.3', teacher='backbone.1')
    )


@pytest.mark.parametrize(
    ('outputs', 'message'),
    [
        (
            {},
            r'distiller.features: the student \(SimpleNamespace\) has no neck that returns levels. Name the',
        ),
        (dict(neck=(1, 4, 8, 8)), 'returns levels: it returns 1x4x8x8. Name the taps'),
    ],
)
def test_a_part_without_levels(outputs, message):
    with pytest.raises(ValueError, match=message):
        level_taps(probe(**outputs), 'neck', 'distiller')


def test_different_numbers_of_levels():
    given = dict(student=['neck.0'], teacher=None)
    with pytest.raises(ValueError, match=r"has 1 levels \['neck.0'\], the teacher 2 .*student_features"):
        pair_levels(probe(), probe('teacher', neck=LEVELS), given, 'neck', 'distiller')


def test_features_are_taps():
    check_features('distiller', features=None, student_features='neck.0', teacher_features=['neck.1'])
    with pytest.raises(TypeError, match='distiller.features: expected taps such as .* got 5'):
        check_features('distiller', features=5)
