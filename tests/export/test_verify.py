"""What was exported is loaded once by a process without this package, and a failure says why."""

import re

import pytest
import torch

from kd_methods.export.student import export_student
from kd_methods.export.verify import loading_problem


@pytest.fixture(scope='module')
def exported(tiny_teacher, tmp_path_factory):
    """Config and weights of an exported network."""
    folder = tmp_path_factory.mktemp('exported')
    out = export_student(tiny_teacher.config, tiny_teacher.checkpoint, folder / 'student.pth', verify=False)
    return folder / 'student.py', out[0]


def test_weights_that_do_not_fit_are_told(exported, tmp_path):
    """mmseg itself takes them without an error. That whole files are loaded: ``tests/promises``."""
    config, weights = exported
    content = torch.load(weights, weights_only=True)
    content['state_dict'].pop('decode_head.conv_seg.weight')
    torch.save(content, tmp_path / 'other.pth')
    problem = loading_problem(config, tmp_path / 'other.pth')
    assert "1 weights of the file are not those of the network: ['decode_head.conv_seg.weight']" in problem


@pytest.mark.parametrize(
    'text,problem',
    [
        ("custom_imports = dict(imports=['no_such_module'])", "No module named 'no_such_module'"),
        ("custom_imports = dict(imports=['needs_ours'])", r'needs kd_methods\)$'),
        ("default_scope = 'mmagic'", "default_scope is 'mmagic'"),
        ('model = dict(', 'SyntaxError'),
    ],
)
def test_what_cannot_be_loaded_is_told(exported, tmp_path, monkeypatch, text, problem):
    config, weights = exported
    (tmp_path / 'needs_ours.py').write_text('import kd_methods')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    (tmp_path / 'config.py').write_text(f'{config.read_text()}\n{text}\n')
    assert re.search(problem, loading_problem(tmp_path / 'config.py', weights))
