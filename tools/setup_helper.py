"""Parts of tools/setup_env.sh that are easier in Python. It calls them; nobody else needs to.

python tools/setup_helper.py check cpu 2.3.6     exit status 0 if mmcv's operators work
python tools/setup_helper.py operators           'cpu|why' or 'cuda|why': which ones to build
python tools/setup_helper.py group FOLDER        make mmcv's sources quick to compile
python tools/setup_helper.py refuse VENV         let pip refuse the abandoned names of onedl-* packages
python tools/setup_helper.py damaged             packages to remove, since one overwrote another
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# these define names that other sources define too, or take long enough alone
ALONE = {
    'pybind',
    'contour_expand',
    'cpu/psamask',
    'cpu/bezier_align',
    'cpu/roi_align',
    'cpu/roi_align_rotated',
    'cpu/rotated_feature_align',
}


def check_operators(kind: str, version: str) -> str:
    """Run one of mmcv's compiled operators.

    Args:
        kind (str): 'cpu', or 'cuda' to ask for CUDA operators too.
        version (str): mmcv's version that is wanted.

    Returns:
        str: What is wrong, empty if nothing is.
    """
    import torch

    try:
        import mmcv
        from mmcv.ops import get_compiling_cuda_version, nms
    except ImportError as error:  # a missing library or symbol too
        return str(error)
    if mmcv.__version__ != version:
        return f'mmcv {mmcv.__version__} is installed, {version} is wanted'
    devices = ['cpu']
    if kind == 'cuda':
        if get_compiling_cuda_version() == 'not available':
            return 'mmcv was compiled without CUDA'
        devices.append('cuda')
    for device in devices:
        boxes = torch.tensor(
            [[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.9], [8.0, 8.0, 9.0, 9.0]], device=device
        )
        kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)[1].tolist()
        if kept != [0, 2]:
            return f'nms on {device} returned {kept}, expected [0, 2]'
    return ''


def nvcc_version(cuda_home: str | None) -> str | None:
    try:
        command = [os.path.join(cuda_home or '', 'bin', 'nvcc'), '--version']
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return re.search(r'release (\d+\.\d+)', text).group(1)
    except (OSError, subprocess.CalledProcessError, AttributeError):
        return None


def choose_operators(usable: bool, built: str | None, nvcc: str | None, device: bool) -> tuple[str, str]:
    """Which of mmcv's operators to build, and a sentence for the user.

    Args:
        usable (bool): torch can use a GPU.
        built (str, optional): CUDA version that torch was built with.
        nvcc (str, optional): Version of the CUDA compiler that was found.
        device (bool): The system has an NVIDIA device.
    """
    if not usable:
        if not device:
            return 'cpu', ''
        return 'cpu', (
            'there is an NVIDIA device, but this torch cannot use it: it is a CPU build, or the driver is '
            'too old for it. mmcv gets CPU operators'
        )
    if nvcc and nvcc.split('.')[0] == built.split('.')[0]:
        return 'cuda', f'GPU found, nvcc {nvcc}, torch built with CUDA {built}: mmcv gets CUDA operators'
    what = f'nvcc is version {nvcc}' if nvcc else 'the CUDA compiler nvcc was not found'
    return 'cpu', (
        f'there is a GPU, but {what} and torch was built with CUDA {built}, so mmcv gets CPU operators '
        'only. Segmentation trains on the GPU all the same; detectors, which need nms and RoIAlign there, '
        f'do not. Install the CUDA {built} toolkit and run the set-up again to change that'
    )


def group_sources(folder: Path) -> None:
    """Let mmcv's small CPU sources be compiled together.

    Most of a source's compile time goes into torch's headers, so that 78 sources take four times as
    long as the same code in 11.
    """
    for part in (folder, folder / 'cpu'):
        prefix = '' if part == folder else 'cpu/'
        files = sorted(f for f in part.glob('*.cpp') if prefix + f.stem not in ALONE)
        for file in files:
            file.rename(file.with_suffix('.part'))
        for i in range(2):
            lines = [f'#include "{file.stem}.part"\n' for file in files[i::2]]
            (part / f'group_{i}.cpp').write_text(''.join(lines), encoding='utf-8')


def abandoned_names() -> dict[str, tuple[str, ...]]:
    """The onedl-* packages, and the packages of other names whose modules they bring."""
    spec = importlib.util.spec_from_file_location('packages', ROOT / 'kd_methods' / 'compat' / 'packages.py')
    module = importlib.util.module_from_spec(
        spec
    )  # alone: kd_methods itself needs all that is to be installed
    spec.loader.exec_module(module)
    return {need.package: need.old for need in module.REQUIREMENTS if need.old}


def refuse_abandoned(venv: Path) -> None:
    """Leave a constraint in an environment with which its pip refuses the abandoned names.

    No such version exists; pip's error shows it, and so says what to install instead.
    """
    lines = ['# Written by tools/setup_env.sh: installing one of these would overwrite an onedl-* package.']
    for package, names in abandoned_names().items():
        lines += [f'{name}==0+use.{package.replace("-", ".")}.instead' for name in names]
    path = venv.resolve() / 'constraints.txt'
    path.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    # as an address: pip splits a plain path at its blanks
    command = [sys.executable, '-m', 'pip', 'config', '--quiet', '--site', 'set', 'install.constraint']
    subprocess.run([*command, path.as_uri()], check=True)


def find_damage() -> list[str]:
    """Distributions to remove: abandoned ones, and onedl-* packages whose files they overwrote or took."""
    found = []
    for package, names in abandoned_names().items():
        there = [name for name in names if _distribution(name)]
        own = _distribution(package)
        changed = own is not None and any(_is_changed(file) for file in own.files or ())
        found += there + ([package] if own is not None and (there or changed) else [])
    return found


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_changed(file: importlib.metadata.PackagePath) -> bool:
    try:
        return file.size is not None and os.stat(file.locate()).st_size != file.size
    except OSError:  # it is gone
        return file.suffix != '.pyc'


def main(args: list[str]) -> int:
    what, *rest = args or ['']
    if what == 'check':
        problem = check_operators(*rest)
        print(problem, end='')
        return int(bool(problem))
    if what == 'operators':
        import torch
        from torch.utils.cpp_extension import CUDA_HOME

        cuda, device = torch.cuda.is_available(), os.path.exists('/dev/nvidia0')
        print('|'.join(choose_operators(cuda, torch.version.cuda, nvcc_version(CUDA_HOME), device)))
        return 0
    if what == 'group':
        group_sources(Path(rest[0]))
        return 0
    if what == 'refuse':
        refuse_abandoned(Path(rest[0]))
        return 0
    if what == 'damaged':
        print(*find_damage())
        return 0
    print(__doc__)
    return 0 if what in ('-h', '--help') else 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
