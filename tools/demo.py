"""The demo: what is a teacher worth where labels are few? On sign scenes, on a CPU, with no download.

    python tools/demo.py              # teacher, student alone, student with logit KD: table and pictures
    python tools/demo.py --seeds 3    # the same comparison over three seeds (three times as long)

It writes the scenes, trains the teacher on all labels, the student on 60 labelled scenes (also twice as
long), and the student on these and all scenes without labels, with tools/train.py and the shipped configs,
tests them with tools/test.py, and leaves in work_dirs/demo: results.md, results.json, predictions.png,
curves.png, and each run under runs/. Stopped (Ctrl-C), it goes on where it was when it is called again; a
run whose config has changed since is repeated.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

from entry import ROOT, run_tool, tool_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='run seeds 0 to N-1 (%(default)s)')
    parser.add_argument('--work-dir', type=Path, help='folder of all results (work_dirs/demo)')
    parser.add_argument('--data', type=Path, help="folder of the scenes (the configs': data/scenes)")
    quick = (
        'a few steps on a few tiny scenes, which teach nothing, in work_dirs/demo-quick: tries the machinery'
    )
    parser.add_argument('--quick', action='store_true', help=quick)
    threads = 'threads of a training (OMP_NUM_THREADS, else the cores, at most 8)'
    parser.add_argument('--threads', type=int, help=threads)
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error(f'--seeds: got {args.seeds}, expected 1 or more')
    return args


def main(argv: list[str] | None = None) -> dict:
    """Run the demo as the command line says and return its results."""
    args, start = parse_args(argv), time.monotonic()
    from demo_parts.comparison import Demo

    from kd_methods.experiments.processes import clock, waiting_for

    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    root = (args.work_dir or ROOT / 'work_dirs' / ('demo-quick' if args.quick else 'demo')).resolve()
    with waiting_for(root, 'another demo') as lock:
        found = Demo(args, root, lock).run()
    print(f'\nThis call took {clock(time.monotonic() - start)}.', flush=True)
    return found


if __name__ == '__main__':
    run_tool(main, 'The same command goes on where this one stopped.')
