"""Tables and figures of a report."""

from kd_methods.utils.report import Report, count, number, pairs, table


def test_table_aligns_and_drops_trailing_blanks():
    text = table([('a', 1, 'x'), ('long', 100, '')], ('', 'n', 'end'), right=(1,))
    assert text.splitlines() == ['        n  end', 'a       1  x', 'long  100']


def test_empty_table_and_missing_cells():
    assert table([]) == ''
    assert table([(None, 'x')]) == '  x'


def test_pairs_wrap_below_the_value():
    text = pairs([('one', 'word ' * 40), ('three', 'x\ny')])
    lines = text.splitlines()
    assert len(lines) == 4 and all(len(line) <= 118 for line in lines)
    assert (
        lines[0].startswith('one    word') and lines[1].startswith('       word') and lines[3] == '       y'
    )


def test_numbers():
    assert [number(v) for v in (None, 0.0, 1234567.0, 0.00012345)] == ['-', '0', '1.23e+06', '0.000123']
    assert [count(v) for v in (None, 7, 1500, 2.5e6, 3e9, 4e12)] == ['-', '7', '1.5 k', '2.5 M', '3 G', '4 T']


def test_exit_code_and_count_of_wrong_things():
    report = Report('config.py')
    report.add('Empty', '')
    report.notes.append('by the way')
    assert report.exit_code == 0 and 'Nothing wrong was found.' in str(report) and 'Empty' not in str(report)
    report.wrong.append('first')
    assert report.exit_code == 1 and 'One thing is wrong\n  x first' in str(report)
    report.wrong.append('second')
    assert '2 things are wrong' in str(report) and '- by the way' in str(report)


def test_a_live_report_says_what_it_finds_when_it_finds_it(capsys, monkeypatch):
    report = Report('config.py', live=True)
    report.begin('reading')  # no terminal: stderr is for what went wrong
    assert not capsys.readouterr().err
    report = Report('config.py', live=True)
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    report.begin('building')
    report.wrong.append('No teacher.')
    report.add('Networks', 'a  1')
    first = capsys.readouterr()
    assert first.out == 'config.py\n\nNetworks\n  a  1\n\n  x No teacher.\n\n'
    assert 's] building ...' in first.err
    report.wrong.append('No step.')
    report.add('Step', 'none')
    second = capsys.readouterr().out
    assert second == 'Step\n  none\n\n  x No step.\n\n'
    assert report.verdict() == '2 things are wrong\n  x No teacher.\n  x No step.'
    assert str(report) == f'config.py\n\nNetworks\n  a  1\n\nStep\n  none\n\n{report.verdict()}'
