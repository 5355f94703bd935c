"""What `check_packages` says about every state of the environment."""

import re
import subprocess
import sys
import warnings

import pytest

from kd_methods.compat.packages import REQUIREMENTS, check_packages, installed_version

TESTED = {need.package: need.tested for need in REQUIREMENTS}
OLD = [(need, name) for need in REQUIREMENTS for name in need.old]


def check(ops: bool = True, **changes) -> None:
    """Check the tested packages with some changed; None removes one. `-` is written `_`."""
    installed = TESTED | {name.replace('_', '-'): version for name, version in changes.items()}
    check_packages(installed.get, lambda: ops)


def test_tested_versions_pass_silently():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        check()
        check(torch='2.13.0+cu130')  # a build is no other version


def test_requirements_file_pins_the_tested_versions(request):
    text = (request.config.rootpath / 'requirements.txt').read_text()
    for package, tested in TESTED.items():
        assert f'{package}=={tested}' in text.split()


@pytest.mark.parametrize('need', REQUIREMENTS, ids=lambda need: need.package)
def test_missing_package_names_the_command(need):
    with pytest.raises(ImportError) as error:
        check(**{need.package.replace('-', '_'): None})
    assert f'{need.package} is not installed' in str(error.value)
    assert str(error.value).endswith(f'Run: {need.command}')


def test_commands_are_exact():
    commands = {need.module: need.command for need in REQUIREMENTS}
    assert commands['mmcv'] == 'pip install --no-build-isolation onedl-mmcv==2.3.6'
    assert commands['mmengine'] == 'pip install onedl-mmengine==0.10.12'


@pytest.mark.parametrize('need, name', OLD, ids=[name for _, name in OLD])
def test_old_package_instead_of_the_onedl_one(need, name):
    changes = {need.package: None, name: '1.2.2'}
    with pytest.raises(ImportError) as error:
        check(**{key.replace('-', '_'): value for key, value in changes.items()})
    assert f'{name} 1.2.2 is installed, {need.package} is not' in str(error.value)
    assert str(error.value).endswith(f'Run: pip uninstall -y {name} && {need.command}')


def test_old_package_over_the_onedl_one():
    with pytest.raises(ImportError, match='mmsegmentation 1.2.2 is installed, onedl-mmseg') as error:
        check(mmsegmentation='1.2.2')
    assert 'pip uninstall -y mmsegmentation onedl-mmsegmentation && pip install' in str(error.value)


@pytest.mark.parametrize(
    'package, version, line',
    [
        ('onedl_mmcv', '3.0.0', '2.x'),
        ('onedl_mmengine', '0.11.0', '0.10.x'),  # before 1.0 a minor version may break things
        ('mmrazor', '0.3.1', '1.x'),
        ('torch', '1.13.1+cu117', '2.x from 2.6 on'),
        ('torch', '2.5.1', '2.x from 2.6 on'),
    ],
)
def test_another_release_line_is_an_error(package, version, line):
    with pytest.raises(ImportError) as error:
        check(**{package: version})
    text = str(error.value)
    assert f'{package.replace("_", "-")} {version}' in text and f'any {line},' in text
    assert re.search(r'Run: pip install .*==', text)


def test_other_versions_of_the_line_give_one_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        check(onedl_mmcv='2.3.7', torch='2.14.0', onedl_mmengine='0.10.13rc1')
    assert len(caught) == 1
    text = str(caught[0].message)
    assert 'onedl-mmcv 2.3.7 (tested: 2.3.6)' in text and 'torch 2.14.0' in text


def test_mmcv_without_ops():
    with pytest.raises(ImportError, match='without its compiled ops') as error:
        check(ops=False)
    assert '--force-reinstall' in str(error.value)
    assert '--no-build-isolation onedl-mmcv==2.3.6' in str(error.value)


def test_installed_version():
    assert installed_version('pytest') == pytest.__version__
    assert installed_version('no-such-package-here') is None


def test_import_says_what_is_missing_before_it_imports_torch(request):
    """The sentence comes out of `import kd_methods`, not some error of a package that is there."""
    code = (
        'import importlib.metadata as m, sys\n'
        'version = m.version\n'
        'def lookup(name):\n'
        '    if name == "onedl-mmsegmentation": raise m.PackageNotFoundError(name)\n'
        '    return version(name)\n'
        'm.version = lookup\n'
        'try: import kd_methods\n'
        'except ImportError as error: print(error, "torch" in sys.modules, sep="|")\n'
    )
    output = subprocess.run(
        [sys.executable, '-c', code], cwd=request.config.rootpath, capture_output=True, text=True, check=True
    ).stdout
    assert output.startswith('onedl-mmsegmentation is not installed')
    assert 'onedl-mmsegmentation==1.4.2|False' in output
