"""Write sign scenes, the data set that needs no download.

python tools/data/make_scenes.py --out data/scenes
python tools/data/make_scenes.py --out data/scenes_rgbd --depth --camouflage 0.5
python tools/data/make_scenes.py --out data/scenes_coco --format coco
python tools/data/make_scenes.py --out data/scenes_cityscapes --format cityscapes --depth
"""

import argparse
import time
from pathlib import Path

from entry import run_tool, tool_parser

FORMS = dict(
    scenes='label maps, and with --depth depth maps',
    cityscapes='Cityscapes: leftImg8bit, gtFine with polygons, and with --depth disparity',
    voc='Pascal VOC 2012 with the additional labels of the SBD, below VOC2012/',
    camvid='CamVid, 11 classes; the test split holds the val scenes again',
    coco='COCO 2017: boxes and instance masks, the digits as 10 categories',
    nyuv2='NYUv2 as tools/data/nyuv2.py writes it: depth (always), labels of 40 and 13 classes',
    ade20k='ADE20K: labels 1 to 150, 0 for other',
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.epilog = 'forms on disk:\n' + '\n'.join(f'  {name:11} {text}' for name, text in FORMS.items())
    add = parser.add_argument
    add('--out', required=True, help='directory of the data set')
    add('--train', type=int, default=3000, help='training scenes (%(default)s)')
    add('--val', type=int, default=300, help='validation scenes (%(default)s)')
    add('--size', type=int, default=96, help='side in pixels (%(default)s)')
    add('--seed', type=int, default=0, help='seed of all scenes (%(default)s)')
    add('--difficulty', type=float, default=0.5, help='from 0, easy, to 1, hard (%(default)s)')
    hidden = 'share of signs whose digit shows in the depth but hardly in the image (%(default)s)'
    add('--camouflage', type=float, default=0.0, metavar='SHARE', help=hidden)
    depth = 'also write depth (scenes, cityscapes; nyuv2 always has it)'
    add('--depth', action='store_true', help=depth)
    add('--format', choices=list(FORMS), default='scenes', help='form on disk, see below (%(default)s)')
    add('--workers', type=int, help='processes (number of cores)')
    add('--overwrite', action='store_true', help='replace scenes that were made with other arguments')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the scenes as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.scenes.forms import build_form
    from kd_methods.scenes.writer import write_scenes

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
    run_tool(main, 'Run the same command again: it writes the scenes anew.')
