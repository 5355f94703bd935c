"""Means, intervals and gains against numbers worked out by hand, and the tables."""

import pytest

from kd_methods.experiments.summary import as_markdown, comparison, interval, summarize, trials


def run(arm: str, seed: int, value: float | None, **found) -> dict:
    return dict(arm=arm, seed=seed, metrics=dict(mIoU=value), **found)


RUNS = [
    *(run('alone', s, v) for s, v in ((2, 33.0), (0, 30.0), (1, 36.0))),
    *(run('kd', s, v) for s, v in ((0, 31.0), (1, 38.0), (2, 36.0), (3, 90.0))),
]


def test_interval_is_that_of_students_t():
    found = interval([1.0, 2.0, 3.0])  # t(0.975, 2) = 4.30265, standard error 1 / sqrt(3)
    assert found.mean == 2 and found[1:] == pytest.approx((-0.48414, 4.48414), abs=1e-5)
    found = interval([10.0, 14.0])  # t(0.975, 1) = 12.7062, standard error 2
    assert found[1:] == pytest.approx((12 - 25.4124, 12 + 25.4124), abs=1e-4)
    # t(0.95, 2) = 2.91999
    assert interval([1.0, 2.0, 3.0], level=0.9).high == pytest.approx(2 + 2.91999 / 3**0.5, abs=1e-3)


def test_one_value_has_no_bounds():
    assert interval([5.0]) == (5.0, None, None)


def test_gains_are_paired_by_seed():
    alone, kd = summarize(RUNS, 'mIoU', 'alone')
    assert alone.values == {0: 30.0, 1: 36.0, 2: 33.0} and (alone.mean, alone.std) == (33.0, 3.0)
    assert alone.gain is None
    # +1, +2, +3: the fourth seed has no partner. Unpaired, the mean of kd would be 48.75.
    assert kd.gain == interval([1.0, 2.0, 3.0]) and kd.mean == 48.75


def test_one_seed_has_a_gain_without_bounds():
    alone, kd = summarize([RUNS[1], RUNS[3]], 'mIoU', 'alone')
    assert kd.gain == (1.0, None, None) and kd.std is None
    row = comparison([alone, kd], 'mIoU')[2]
    assert row[:5] == ['kd', '1', '31.00', '+1.00', '']


def test_no_gain_without_a_common_seed_or_a_baseline():
    assert summarize([RUNS[0], RUNS[3]], 'mIoU', 'alone')[1].gain is None
    rows = summarize(RUNS, 'mIoU')
    assert [row.gain for row in rows] == [None, None]
    assert comparison(rows, 'mIoU')[0][:4] == ['', 'seeds', 'mIoU', 's/iter']


def test_figures_that_are_not_finite_are_left_out():
    alone, kd = summarize([run('alone', 0, None), run('alone', 1, 4.0), run('kd', 0, None)], 'mIoU', 'alone')
    assert alone.values == {1: 4.0} and kd.values == {} and kd.mean is None and kd.gain is None
    assert comparison([alone, kd], 'mIoU')[2][:3] == ['kd', '0', '-']


def test_an_unknown_metric_is_refused_with_those_that_are_there():
    with pytest.raises(KeyError, match=r"--metric: no 'mDice'.*alone, seed 2 has \['mIoU'\]"):
        summarize(RUNS, 'mDice')


def test_table_of_a_comparison():
    cost = dict(seconds_per_iteration=0.1234, length=500, extra_parameters=1234567)
    runs = [run('alone', s, v, seconds=60.0) for s, v in ((0, 30.0), (1, 36.0))]
    runs += [run('kd', s, v, seconds=t, **cost) for s, v, t in ((0, 31.0, 60.0), (1, 39.0, 120.0))]
    head, alone, kd = comparison(summarize(runs, 'mIoU', 'alone'), 'mIoU')
    columns = ['s/iter', 'iterations', 'training', 'extra parameters']
    assert head == ['', 'seeds', 'mIoU', 'gain', '95 % interval', *columns]
    assert alone == ['alone', '2', '33.00 ± 4.24', '', '', '-', '-', '1.0 min', '-']
    gain = ['+2.00', '-10.71 to +14.71']  # +1 and +3: t(0.975, 1) = 12.7062, standard error 1
    assert kd == ['kd', '2', '35.00 ± 5.66', *gain, '0.123', '500', '1.5 min', '1.23 M']


def test_parts_of_one_have_more_digits():
    rows = summarize([run('a', 0, 0.3456), run('b', 0, 0.3512)], 'mIoU', 'a')
    assert comparison(rows, 'mIoU')[2][2:4] == ['0.3512', '+0.0056']
    assert trials(rows)[1] == ['a', '0.3456']


def test_table_of_all_trials():
    cells = trials(summarize(RUNS, 'mIoU'))
    assert cells[0] == ['', 'seed 0', 'seed 1', 'seed 2', 'seed 3']
    assert cells[1] == ['alone', '30.00', '36.00', '33.00', '-']
    assert trials(summarize(RUNS, 'mIoU'), '.1f')[2] == ['kd', '31.0', '38.0', '36.0', '90.0']


def test_markdown():
    assert as_markdown([['a', 'b'], ['x', '1']]) == '| a | b |\n|---|---:|\n| x | 1 |'
