"""The set-up's files agree with each other, and the script refuses what cannot work."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kd_methods

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / 'tools' / 'setup_env.sh'


def read_pins() -> list[Requirement]:
    lines = (ROOT / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith('#')]


def pins_for(python: str) -> dict[str, str]:
    """Name -> pinned version under one version of Python."""
    return {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in read_pins()
        if pin.marker is None or pin.marker.evaluate({'python_version': python})
    }


def setup_value(keyword: str) -> object:
    """A literal argument of ``setup(...)``, or the module constant that it names."""
    tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
    constants = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    call = next(node for node in calls if ast.unparse(node.func) == 'setup')
    value = next(k.value for k in call.keywords if k.arg == keyword)
    if isinstance(value, ast.Name):
        value = constants[value.id]
    return ast.literal_eval(value)


def ranges() -> list[Requirement]:
    extras = setup_value('extras_require').values()
    return [Requirement(r) for r in [*setup_value('install_requires'), *sum(extras, [])]]


def load_helper():
    spec = importlib.util.spec_from_file_location('setup_helper', ROOT / 'tools' / 'setup_helper.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(tmp_path: Path, **env: str) -> subprocess.CompletedProcess:
    """The set-up with a place of its own for everything it writes."""
    places = {'VENV': str(tmp_path / 'venv'), 'KD_CACHE': str(tmp_path / 'cache')}
    return subprocess.run(
        ['bash', str(SCRIPT)], env={**os.environ, **places, **env}, capture_output=True, text=True, timeout=60
    )


def fake_python(tmp_path: Path, body: str) -> str:
    path = tmp_path / 'python'
    path.write_text(f'#!/bin/sh\n{body}\n', encoding='utf-8')
    path.chmod(0o755)
    return str(path)


def test_every_pin_is_exact():
    for pin in read_pins():
        assert [s.operator for s in pin.specifier] == ['=='], str(pin)


@pytest.mark.parametrize('python', ['3.10', '3.11', '3.12'])
def test_pins_lie_in_the_ranges_of_setup_py(python):
    pins = pins_for(python)
    for wanted in ranges():
        name = canonicalize_name(wanted.name)
        assert name in pins, f'{wanted.name} is in setup.py but not pinned for Python {python}'
        assert pins[name] in wanted.specifier, f'{wanted} does not allow {pins[name]}'


def test_pins_are_what_is_installed():
    python = '.'.join(map(str, sys.version_info[:2]))
    for name, version in pins_for(python).items():
        installed = importlib.metadata.version(name).split('+')[0]  # torch's '+cpu'
        assert installed == version, f'{name}: {installed} is installed, {version} is pinned'


def test_every_import_is_declared():
    """A package that the code imports is in setup.py, not only there because another one asks for it."""
    names = {
        'cv2': 'opencv-python-headless',
        'PIL': 'pillow',
        'sklearn': 'scikit-learn',
        **{name: f'onedl-{name}' for name in ('mmengine', 'mmcv')},
        **dict(mmdet='onedl-mmdetection', mmseg='onedl-mmsegmentation'),
    }
    imported = set()
    for path in (ROOT / 'kd_methods').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split('.')[0])
    packages = {names.get(name, name) for name in imported - {'kd_methods', *sys.stdlib_module_names}}
    declared = {canonicalize_name(Requirement(r).name) for r in setup_value('install_requires')}
    assert packages == declared


def test_version_is_said_once():
    cff = (ROOT / 'CITATION.cff').read_text(encoding='utf-8')
    assert re.search(r'^version: (\S+)$', cff, re.MULTILINE).group(1) == kd_methods.__version__
    result = subprocess.run(
        [sys.executable, 'setup.py', '--version'], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout.split()[-1] == kd_methods.__version__, result.stderr


def test_supported_pythons_agree():
    """setup.py and the set-up script accept the same versions."""
    allowed = Requirement(f'x{setup_value("python_requires")}').specifier
    in_script = re.search(r'^supported\(\) .*? in ([\d. |]+)\)', SCRIPT.read_text(), re.MULTILINE)
    accepted = {v.strip() for v in in_script.group(1).split('|')}
    assert accepted == {f'3.{minor}' for minor in range(6, 20) if f'3.{minor}' in allowed}


@pytest.mark.parametrize(
    'path', sorted([*ROOT.glob('tools/**/*.sh'), ROOT / '.ci' / 'run']), ids=lambda p: p.name
)
def test_shell_scripts_parse_and_can_be_run(path):
    result = subprocess.run(['bash', '-n', str(path)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert os.access(path, os.X_OK), f'{path} is not executable'


@pytest.mark.parametrize('version', ['3.9', '3.13', ''])
def test_unsuitable_python_is_refused(tmp_path, version):
    result = run_script(tmp_path, PYTHON=fake_python(tmp_path, f'echo {version}'))
    assert result.returncode == 1
    assert '3.10, 3.11 or 3.12 is needed' in result.stderr
    assert f'is Python {version or "(does not start)"}' in result.stderr
    assert not (tmp_path / 'venv').exists()


def test_python_without_venv_is_refused(tmp_path):
    body = 'case "$2" in *ensurepip*) exit 1 ;; *) echo 3.11 ;; esac'
    result = run_script(tmp_path, PYTHON=fake_python(tmp_path, body))
    assert result.returncode == 1
    assert 'apt-get install python3.11-venv' in result.stderr


def test_missing_headers_are_named_before_anything_is_fetched(tmp_path):
    body = f'case "$2" in *INCLUDEPY*) echo {tmp_path}/none ;; *) echo 3.11 ;; esac'
    result = run_script(tmp_path, PYTHON=fake_python(tmp_path, body))
    assert result.returncode == 1
    assert 'apt-get install python3.11-dev' in result.stderr


def test_full_disk_and_wrong_option_are_named(tmp_path):
    python = fake_python(tmp_path, 'echo 3.11')
    assert 'lower MIN_FREE_GB' in run_script(tmp_path, PYTHON=python, MIN_FREE_GB='99999999').stderr
    assert 'not one of auto, cpu, cuda' in run_script(tmp_path, PYTHON=python, OPS='gpu').stderr


def test_missing_compiler_is_named(tmp_path):
    tools = tmp_path / 'bin'
    tools.mkdir()
    for name in ('dirname', 'mkdir', 'df', 'du', 'awk', 'cut', 'sh', 'bash', 'head', 'cat', 'gcc'):
        found = subprocess.run(['which', name], capture_output=True, text=True).stdout.strip()
        (tools / name).symlink_to(found)
    python = fake_python(tmp_path, 'echo 3.11')
    result = run_script(tmp_path, PYTHON=python, PATH=str(tools))
    assert result.returncode == 1
    assert 'g++ was not found' in result.stderr and 'apt-get install gcc g++' in result.stderr


def test_operators_work_and_problems_are_said():
    helper = load_helper()
    version = pins_for('3.11')['onedl-mmcv']
    assert helper.check_operators('cpu', version) == ''
    assert helper.check_operators('cpu', '1.0') == f'mmcv {version} is installed, 1.0 is wanted'


@pytest.mark.parametrize(
    'usable, built, nvcc, device, kind, says',
    [
        (False, None, None, False, 'cpu', ''),
        (False, None, '13.0', True, 'cpu', 'cannot use it'),
        (True, '13.0', '13.2', True, 'cuda', 'CUDA operators'),
        (True, '13.0', None, True, 'cpu', 'nvcc was not found'),
        (True, '13.0', '12.4', True, 'cpu', 'nvcc is version 12.4'),
    ],
)
def test_choice_of_operators(usable, built, nvcc, device, kind, says):
    chosen, sentence = load_helper().choose_operators(usable, built, nvcc, device)
    assert chosen == kind
    assert says in sentence and bool(says) == bool(sentence)


def test_grouped_sources_hold_every_source_once(tmp_path):
    names = ['pybind', 'nms', 'roi_align', 'info', 'cpu/roi_align', 'cpu/nms', 'cpu/deform_conv']
    (tmp_path / 'cpu').mkdir()
    for name in names:
        (tmp_path / f'{name}.cpp').write_text(f'// {name}', encoding='utf-8')
    load_helper().group_sources(tmp_path)
    seen = []
    for source in tmp_path.glob('**/*.cpp'):  # what mmcv's setup.py compiles
        text = source.read_text(encoding='utf-8')
        parts = re.findall('#include "(.*)"', text)
        seen += [(source.parent / part).read_text(encoding='utf-8') for part in parts] or [text]
    assert sorted(seen) == sorted(f'// {name}' for name in names)
    assert (tmp_path / 'cpu' / 'roi_align.cpp').exists()  # would clash with others
    assert not (tmp_path / 'roi_align.cpp').exists()
