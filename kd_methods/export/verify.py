"""Whether others can load what was exported: tried once, in a fresh process that has no kd_methods."""

import os
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

#: Function of each package that loads a config and weights.
_LOADERS = dict(mmseg='init_model', mmdet='init_detector')
_TIMEOUT = 600  # seconds: a process imports torch and the package first, from what may be a slow disk

# Arguments: package, function, config, weights, whether kd_methods must not be imported, installed or not.
_SCRIPT = """
import importlib, sys
package, loader, config, weights, alone = sys.argv[1:]
if alone == 'True':
    sys.modules['kd_methods'] = None
import torch
from mmengine.config import Config
try:
    config = Config.fromfile(config)  # first: what it imports may be missing
    model = getattr(importlib.import_module(package + '.apis'), loader)(config, weights, device='cpu')
except Exception as error:
    while error.__cause__ or error.__context__:  # packages say around it where they were
        error = error.__cause__ or error.__context__
    sys.exit(f'{type(error).__name__}: {" ".join(str(error).split())}')
given, own = torch.load(weights, map_location='cpu', weights_only=True)['state_dict'], model.state_dict()
odd = [k for k in given if k not in own or not torch.equal(own[k], given[k])]
odd += [k for k in own if k not in given and not k.endswith('num_batches_tracked')]
if odd:
    sys.exit(f'ValueError: {len(odd)} weights of the file are not those of the network: {odd[:5]}')
"""


def loading_problem(config: str | Path, weights: str | Path) -> str:
    """Why stock mmseg or mmdet cannot load an exported student; '' where it can.

    A config whose student is made of types of this package imports it: then it may be imported. The modules
    of ``custom_imports`` have to be found from the working directory, or by PYTHONPATH.

    Args:
        config (str | Path): The exported config.
        weights (str | Path): The exported weights.
    """
    try:
        cfg = Config.fromfile(str(config), import_custom_modules=False)
    except Exception as error:  # whatever Python makes of its text
        return f'{type(error).__name__}: {error}'
    package = cfg.get('default_scope')
    if package not in _LOADERS:
        return f'default_scope is {package!r}, and only {sorted(_LOADERS)} are known to load a student'
    alone = 'kd_methods' not in ((cfg.get('custom_imports') or {}).get('imports') or ())
    arguments = [package, _LOADERS[package], str(config), str(weights), str(alone)]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES='', OMP_NUM_THREADS='1')
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', _SCRIPT, *arguments],
            capture_output=True,
            text=True,
            errors='replace',
            env=environment,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'a process that loads it could not be run: {error}'
    if done.returncode == 0:
        return ''
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    cause = lines[-1] if lines else f'the process ended with code {done.returncode}'
    if 'import of kd_methods halted' in done.stderr:
        return f'{cause} (a module of its custom_imports needs kd_methods)'
    return cause
