"""What the command-line tools share: arguments, the reading of a config, errors in a sentence.

It imports the standard library alone until a config is read, and so do the tools at their top: `--help`
answers at once, and a mistake in the command line or in the config's text is told before torch is loaded.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import multiprocessing
import os
import os.path as osp
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, installed or not

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# Mistakes of the user, reported in a sentence where this project itself raises them.
USER_ERRORS = (ValueError, KeyError, TypeError, FileNotFoundError, FloatingPointError, BrokenExecutor)
# Warnings that every run of the stack gives, with any config: nothing to act on.
_NOISE = (
    r'Default ``avg_non_ignore`` is False',
    r'The draw is False, it means that the hook for visualization',
    r'`broadcast_buffers` is deprecated',
)


class ToolParser(argparse.ArgumentParser):
    """A parser that takes `~` for the home folder also where no shell does: in quotes, and behind `=`."""

    def parse_args(self, *args: Any, **kwargs: Any) -> argparse.Namespace:
        """Read a command line."""
        found = super().parse_args(*args, **kwargs)
        expand_home(vars(found))
        return found


def tool_parser(text: str) -> argparse.ArgumentParser:
    """A parser whose `--help` shows a tool's docstring as it is."""
    return ToolParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def expand_home(value: Any) -> Any:
    """A path with the home folder for its `~`; the paths in a dict, a list or a config change in place."""
    if isinstance(value, str):
        return osp.expanduser(value)
    if isinstance(value, tuple):
        parts = [expand_home(part) for part in value]
        same = all(new is old for new, old in zip(parts, value))
        return value if same else tuple(parts)
    pairs = enumerate(value) if isinstance(value, list) else getattr(value, 'items', tuple)()
    for key, old in list(pairs):
        # a class may be called ~, and the options are put into the config, of which all is seen
        new = old if key in ('metainfo', 'cfg_options') else expand_home(old)
        if new is not old:
            value[key] = new
    return value


def converter_parser(text: str) -> argparse.ArgumentParser:
    """The parser of a tool that converts many files."""
    parser = tool_parser(text)
    parser.add_argument('--workers', type=int, help='processes (number of cores)')
    again = 'convert all files anew, also those that look done'
    parser.add_argument('--overwrite', action='store_true', help=again)
    return parser


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG, and the option that overrides its keys."""
    parser.add_argument('config', help='distillation or plain config (or mmseg::..., mmdet::...)')
    keys = (
        'override config keys: a.b=1 list=[1,2] nested="[(a,b),(c,d)]" "path=/with a blank" '
        '(no blanks around =)'
    )
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help=keys)
    parser.set_defaults(work_dir=None, launcher='none', local_rank=0)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the further arguments of a tool that runs a config."""
    add = parser.add_argument
    add('--work-dir', help='where logs and results go (default: as the config says, or work_dirs/CONFIG)')
    started = 'what started this process (default: none, a single process)'
    add('--launcher', choices=LAUNCHERS, default='none', help=started)
    # torch.distributed.launch passes one spelling up to torch 1.x and the other from 2.0 on.
    rank = 'rank within the node; given by the launcher'
    add('--local_rank', '--local-rank', type=int, default=0, help=rank)


def positive(text: str) -> int:
    """The type of an argument that is a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'must be a positive integer. Got: {text!r}')
    return int(text)


class CfgOptions(argparse.Action):
    """mmengine's ``KEY=VALUE`` options (`DictAction`), read without mmengine.

    A value that is no list keeps its blanks, since paths have some.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Add the options to those that are there."""
        options = dict(getattr(namespace, self.dest) or {})
        for option in values:
            key, equals, text = option.partition('=')
            if not key or not equals:
                parser.error(f'{option_string}: got {option!r}, expected KEY=VALUE, without blanks around =')
            text = text.strip('\'"')
            try:
                is_list = ',' in text or text[:1] in ('(', '[')
                options[key] = _parse_list(text) if is_list else _parse_scalar(text)
            except ValueError:
                parser.error(f'{option_string}: the brackets of {option!r} do not match')
        setattr(namespace, self.dest, options)


def _parse_scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {'true': True, 'false': False}.get(text.lower(), None if text == 'None' else text)


def _parse_list(text: str) -> Any:
    """Items between brackets or commas, which may be lists themselves; blanks and outer quotes go."""
    text = text.strip('\'"').replace(' ', '')
    if any(text.count(left) != text.count(right) for left, right in ('()', '[]')):
        raise ValueError(text)
    bracketed = text[:1] + text[-1:] in ('()', '[]')
    inner = text[1:-1] if bracketed else text
    items, depth = [''], 0
    for char in inner:
        depth += (char in '([') - (char in ')]')
        if char == ',' and depth == 0:
            items.append('')
        else:
            items[-1] += char
    if len(items) == 1 and not bracketed:
        return _parse_scalar(text)
    if not items[-1]:  # '()', or a comma at the end
        items.pop()
    return (tuple if text[:1] == '(' and bracketed else list)(map(_parse_list, items))


def check_file(path: str, key: str) -> None:
    """Refuse a checkpoint that is not there; an address is left to who reads it."""
    file = Path(path).expanduser()
    if '://' in path or file.is_file():
        return
    found = sorted(near.name for near in file.parent.glob('*.pth'))
    hint = f'holds {found}' if found else 'does not exist or has no .pth file'
    advice = 'Train that network first or correct the path.'
    raise FileNotFoundError(f'{key}: no file {path!r}. {file.parent} {hint}. {advice}')


def check_config(path: str, options: dict | None = None) -> None:
    """Refuse a config that is not there, is no Python, or in which no `model` can be.

    Args:
        path (str): CONFIG of the command line. One of a package (``::``) is left to its package.
        options (dict, optional): Overrides, which may make the `model`. Defaults to None.
    """
    if '::' in path:
        return
    candidates = [Path(path).expanduser(), ROOT / path]
    file = next((c for c in candidates if c.is_file()), None)
    if file is None:
        names = {file.name for c in candidates for file in c.parent.glob('*.py')}
        near = difflib.get_close_matches(Path(path).name, sorted(names), n=3)
        hint = f' Did you mean {" or ".join(map(repr, near))}?' if near else ''
        places = ' and '.join(dict.fromkeys(map(str, (Path.cwd(), ROOT))))
        raise FileNotFoundError(f'CONFIG: no config file {path!r} (looked in {places}).{hint}')
    if file.suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(f'CONFIG: {path} is no config: expected a file that ends in .py, .json or .yaml')
    if file.suffix != '.py':
        return
    try:
        text = file.read_text(encoding='utf-8')
        if '{{' not in text:  # mmengine fills in {{ }} before Python reads the file
            ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'CONFIG: {path} is not valid Python: {error}') from error
    made = any(word in text for word in ('model', '_base_', 'import *'))
    if not made and not any(key.startswith('model') for key in options or ()):
        raise ValueError(_no_model(path))


def _no_model(path: str) -> str:
    return (
        f'CONFIG: {path} has no `model`; is it a base file (configs/_base_/...) rather than a whole config?'
    )


def read_config(args: argparse.Namespace) -> Config:
    """Read a run's config and put the command line's overrides into it.

    Args:
        args (Namespace): What `add_config` adds, and maybe `add_run_arguments`.

    Returns:
        Config: With `launcher` and `work_dir` set.
    """
    check_config(args.config, args.cfg_options)
    from kd_methods.distill.channels import keep_order  # torch, and all that kd_methods registers
    from kd_methods.networks.config import load_config

    for message in _NOISE:
        warnings.filterwarnings('ignore', message=message)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = load_config(args.config, 'CONFIG')
    except SyntaxError as error:  # of a base file
        raise ValueError(f'CONFIG: {args.config} is not valid Python: {error}') from error
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    expand_home(cfg)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(_no_model(args.config))
    keep_order(cfg)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', Path(args.config).stem)
    return cfg


def run_tool(main: Callable[[], Any], on_interrupt: str = '') -> None:
    """Run a tool's `main` and end the process with an exit code and a readable last line.

    A mistake that this project itself reports (config, data, checkpoint) ends in its sentence alone;
    KD_DEBUG=1 in the environment shows the traceback. Any other error keeps its traceback. A reader of the
    output that has read enough (``| head``) ends the tool without a word: exit code 141. SIGTERM and SIGUSR1
    end it as Ctrl-C does: exit codes 143, 138 and 130.

    Args:
        main (Callable): The tool. An integer that it returns is the exit code.
        on_interrupt (str): What to say after such a signal. Defaults to ''.
    """
    process = os.getpid()

    def interrupt(number: int, frame: Any) -> None:
        if os.getpid() == process:
            error = KeyboardInterrupt(f'{signal.Signals(number).name} ended it')
            error.number = number
            raise error
        signal.signal(number, signal.SIG_DFL)  # a fork
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, interrupt)
    rank = os.environ.get('RANK') or os.environ.get('SLURM_PROCID')
    name = Path(sys.argv[0]).name + (f' (rank {rank})' if rank else '')
    try:
        try:
            code = main()
        finally:
            sys.stdout.flush()  # what is held back would fail after all handlers
        if launch := sys.modules.get('kd_methods.engine.launch'):
            launch.close_distributed()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt as error:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # torchrun passes on what the terminal sent
        if rank in (None, '0'):
            print(f'\n{name}: {str(error) or "interrupted"}. {on_interrupt}', file=sys.stderr)
        if launch := sys.modules.get('kd_methods.engine.launch'):
            launch.close_distributed()
        _end_workers()
        sys.exit(128 + getattr(error, 'number', signal.SIGINT))
    except USER_ERRORS as error:
        if _debugging() or not _is_own(error):
            raise
        _report(name, error)
        _end_workers()
        sys.exit(1)
    if isinstance(code, int):
        sys.exit(code)


def _end_workers() -> None:
    """End the workers that are left: torch waits for them, and may end in a traceback."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises when a worker is killed
    for child in multiprocessing.active_children():
        child.kill()


def _is_own(error: Exception) -> bool:
    """Whether this project raised an error on purpose."""
    if errors := sys.modules.get('kd_methods.utils.errors'):
        return errors.is_own_error(error)
    raised_in = osp.abspath(traceback.extract_tb(error.__traceback__)[-1].filename)
    return raised_in.startswith(f'{ROOT / "tools"}{os.sep}')


def print_report(name: str, make: Callable[[], Any]) -> int:
    """Print a report, or the sentence of an error that it raises, and return the exit code.

    Args:
        name (str): Of the tool.
        make (Callable): Gives something to print, of a live report its verdict; its ``exit_code``, if it has
            one, is returned.

    Returns:
        int: 0 or 1 as the report says; 2 if there is none.
    """
    try:
        report = make()
    except USER_ERRORS as error:
        if _debugging():
            raise
        _report(name, error)
        return 2
    print(report.verdict() if getattr(report, 'live', False) else report)
    return getattr(report, 'exit_code', 0)


def _debugging() -> bool:
    return os.environ.get('KD_DEBUG', '0') not in ('', '0')


def _report(name: str, error: Exception) -> None:
    # str(KeyError) would put the sentence in quotes
    text = error.args[0] if len(error.args) == 1 else error
    print(f'{name}: {text}\n(KD_DEBUG=1 shows where this was raised)', file=sys.stderr)
