"""The set-up's files agree with each other, and the script refuses what cannot work."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
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
    by_config = {'tensorboard'}  # a config's vis_backends name what imports it
    optional = {canonicalize_name(Requirement(r).name) for r in setup_value('extras_require')['onnx']}
    assert packages - optional == declared - by_config


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


# ---------------------------------------------------------------- abandoned packages of the same modules


@pytest.fixture
def helper(monkeypatch, tmp_path):
    """The helper, looking at distributions in a folder of its own: `helper.site`."""
    module = load_helper()
    module.site = tmp_path / 'site'
    module.site.mkdir()
    found = importlib.metadata.distributions
    by_name = {}

    def distribution(name: str):
        by_name.update((d.metadata['Name'], d) for d in found(path=[str(module.site)]))
        if name not in by_name:
            raise importlib.metadata.PackageNotFoundError(name)
        return by_name[name]

    monkeypatch.setattr(module.importlib.metadata, 'distribution', distribution)
    return module


def put_package(site: Path, name: str, **files: str) -> None:
    """An installed distribution with modules of that text."""
    info = site / f'{name.replace("-", "_")}-1.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
    for module, text in files.items():
        (site / f'{module}.py').write_text(text)
    lines = [f'{module}.py,sha256=x,{len(text)}' for module, text in files.items()]
    (info / 'RECORD').write_text('\n'.join([*lines, f'{info.name}/RECORD,,', 'x/__pycache__/gone.pyc,,']))


def test_names_that_are_refused_are_those_that_the_package_refuses():
    """One list, which needs nothing but Python; every onedl-* package that is pinned is in it."""
    names = load_helper().abandoned_names()
    assert set(names) == {pin.name for pin in read_pins() if pin.name.startswith('onedl-')}
    assert 'mmsegmentation' in names['onedl-mmsegmentation'] and all(names.values())
    assert not {name for old in names.values() for name in old} & set(pins_for('3.11'))


def test_nothing_is_damaged_here():
    assert load_helper().find_damage() == []


def test_a_whole_environment_is_left_alone(helper):
    assert helper.find_damage() == []  # an empty one too
    put_package(helper.site, 'onedl-mmsegmentation', mmseg='new')
    assert helper.find_damage() == []


def test_an_abandoned_package_is_removed_with_what_it_lies_over(helper):
    put_package(helper.site, 'onedl-mmsegmentation', mmseg='new')
    put_package(helper.site, 'onedl-mmengine', mmengine='new')
    put_package(helper.site, 'mmsegmentation', mmseg='old')
    assert helper.find_damage() == ['mmsegmentation', 'onedl-mmsegmentation']


def test_an_abandoned_package_alone_is_removed(helper):
    put_package(helper.site, 'mmdet', mmdet='old')
    assert helper.find_damage() == ['mmdet']


@pytest.mark.parametrize('left', ['an older file', None])
def test_what_an_abandoned_package_left_is_found(helper, left):
    """It was installed over the other one, and perhaps removed again, with the files of both."""
    put_package(helper.site, 'onedl-mmcv', mmcv='new')
    (helper.site / 'mmcv.py').unlink()
    if left:
        (helper.site / 'mmcv.py').write_text(left)
    assert helper.find_damage() == ['onedl-mmcv']


def make_wheel(folder: Path, name: str) -> Path:
    info = f'{name}-1.2.2.dist-info'
    path = folder / f'{name}-1.2.2-py3-none-any.whl'
    with zipfile.ZipFile(path, 'w') as wheel:
        wheel.writestr(f'{name}.py', '')
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.2\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', f'{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n')
    return path


def test_pip_of_the_environment_refuses_abandoned_names(tmp_path):
    """With its own error, which says what to install; in a folder with a blank; other packages go in."""
    venv = tmp_path / 'a b' / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', venv], check=True, timeout=300)
    python = venv / 'bin' / 'python'
    for name in ('mmsegmentation', 'mmcv', 'other', 'onedl_mmcv'):
        make_wheel(tmp_path, name)
    env = {k: v for k, v in os.environ.items() if not k.startswith('PIP_')}

    def pip_install(*what: str) -> subprocess.CompletedProcess:
        command = [python, '-m', 'pip', 'install', '--no-index', '--find-links', tmp_path, '--no-deps', *what]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)

    for _ in range(2):  # the set-up may run again
        helper = [python, ROOT / 'tools' / 'setup_helper.py', 'refuse', venv]
        subprocess.run(helper, env=env, check=True, timeout=300)
    for what in ('mmsegmentation', 'mmsegmentation==1.2.2', str(tmp_path / 'mmcv-1.2.2-py3-none-any.whl')):
        result = pip_install(what)
        name = 'mmsegmentation' if 'mmseg' in what else 'mmcv'
        assert (
            result.returncode
            and f'(constraint) {name}==0+use.onedl.{name}.instead' in result.stdout + result.stderr
        )
    assert pip_install('other', 'onedl-mmcv').returncode == 0
    assert not pip_install('other', 'mmcv').returncode == 0
