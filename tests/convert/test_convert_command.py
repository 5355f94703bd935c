"""The command lines of converters."""
import pytest

from kd_methods.convert.command import only_run


def test_one_run_at_a_time_writes_into_a_folder(tmp_path):
    with only_run(tmp_path):
        with pytest.raises(ValueError, match='another conversion is writing here'), only_run(tmp_path):
            pass
    with only_run(tmp_path), only_run(tmp_path / 'absent'):
        pass
