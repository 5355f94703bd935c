"""Write sign scenes, the data set that needs no download.

python tools/data/make_scenes.py --out data/scenes
python tools/data/make_scenes.py --out data/scenes_rgbd --depth --camouflage 0.5
python tools/data/make_scenes.py --out data/scenes_coco --format coco
python tools/data/make_scenes.py --out data/scenes_cityscapes --format cityscapes --depth
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from kd_methods.engine.cli import run_tool  # noqa: E402
from kd_methods.scenes.forms import FORMS, build_form  # noqa: E402
from kd_methods.scenes.maker import DIFFICULTY, SIZE  # noqa: E402
from kd_methods.scenes.writer import write_scenes  # noqa: E402


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    forms = '\n'.join(f'  {name:11} {form.summary}' for name, form in FORMS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f'forms on disk:\n{forms}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--out', required=True, help='directory of the data set')
    parser.add_argument('--train', type=int, default=3000, help='training scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=300, help='validation scenes (%(default)s)')
    parser.add_argument('--size', type=int, default=SIZE, help='side in pixels (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of all scenes (%(default)s)')
    parser.add_argument(
        '--difficulty', type=float, default=DIFFICULTY, help='from 0, easy, to 1, hard (%(default)s)'
    )
    parser.add_argument(
        '--camouflage',
        type=float,
        default=0.0,
        metavar='SHARE',
        help='share of signs whose digit shows in the depth but hardly in the image (%(default)s)',
    )
    parser.add_argument(
        '--depth', action='store_true', help='also write depth (scenes, cityscapes; nyuv2 always has it)'
    )
    parser.add_argument(
        '--format', choices=list(FORMS), default='scenes', help='form on disk, see below (%(default)s)'
    )
    parser.add_argument('--workers', type=int, help='processes (number of cores)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace scenes that were made with other arguments'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the scenes as the command line says and return the exit code."""
    args = parse_args(argv)
    start = time.time()
    if write_scenes(**vars(args)):
        print(
            f'{args.out}: {args.train} train and {args.val} val scenes of {args.size} x {args.size} in '
            f'{time.time() - start:.0f} s'
        )
    else:
        print(f'{args.out}: these scenes are there already, nothing to do')
    form = build_form(args.format, depth=args.depth)
    bases = ', '.join(f'configs/_base_/datasets/{base}.py' for base in form.bases())
    print(f'read by {bases} with data_root={Path(args.out, form.root)}')
    return 0


if __name__ == '__main__':
    run_tool(lambda: sys.exit(main()), 'Run the same command again: it writes the scenes anew.')
