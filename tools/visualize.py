"""Draw what networks see, teacher and student side by side, as PNG files.

    python tools/visualize.py CONFIG CKPT                             # first image of the test data set
    python tools/visualize.py CONFIG CKPT --index 0 5 --pixel 40 52   # the self-relation of one pixel
    python tools/visualize.py CONFIG CKPT --image photo.jpg --what boundary prediction
    python tools/visualize.py CONFIG alone.pth --name alone --beside distilled=work_dirs/first/best.pth

CONFIG is a distillation config, or a plain one, which has no teacher; CKPT a full checkpoint or a student
alone, as for tools/test.py. The taps are those that the distiller reads; of a plain config, the backbone's
outputs. Files, in --out:

    IMAGE_boundary.png       how far each place of a map is from its neighbours, 0 to 1, and the mean of all
    IMAGE_relation_X_Y.png   how strongly the place of pixel (X, Y) is related to each other place: softmax of
                             the cosine similarity at temperature --tau, as a multiple of its mean
    IMAGE_feature.png        mean magnitude over channels, and three principal components as colours
    IMAGE_prediction.png     label maps, or boxes and masks, with the truth where it is known

Boundary maps and self-relations have one scale a row, so their colours compare. Feature maps do not: each
panel has its own scale, and each network its own components, so red does not mean the same in two panels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entry import add_config, add_run_arguments, check_file, read_config, run_tool, tool_parser

#: As of kd_methods.visualize.run, which imports torch.
KINDS = ('boundary', 'relation', 'feature', 'prediction')


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add_config(parser)
    add('checkpoint', help='full or student-only checkpoint')
    images = parser.add_mutually_exclusive_group()
    index = 'images of the test data set (default: 0)'
    images.add_argument('--index', type=int, nargs='+', default=[0], metavar='N', help=index)
    image = 'image files instead; they go through the test pipeline'
    images.add_argument('--image', nargs='+', metavar='FILE', help=image)
    add('--what', nargs='+', choices=KINDS, default=list(KINDS), help='what to draw (default: all)')
    taps = (
        'places, such as backbone.3 features neck.0, or student:teacher where they differ, '
        "backbone.3:backbone.2 (default: the distiller's; of a plain config the backbone's outputs)"
    )
    add('--taps', nargs='+', metavar='TAP', help=taps)
    pixel = 'pixel of the image file for a self-relation; may be repeated (default: the centre)'
    add('--pixel', type=int, nargs=2, action='append', metavar=('X', 'Y'), default=[], help=pixel)
    add('--click', action='store_true', help='choose pixels with the mouse')
    add('--tau', type=float, default=0.1, help='temperature of the self-relation (default: 0.1)')
    score = 'least score of a detected object that is drawn (default: 0.5)'
    add('--score', type=float, default=0.5, help=score)
    teacher = "the teacher's weights (default: the config's model.teacher_ckpt)"
    add('--teacher-ckpt', metavar='FILE', help=teacher)
    beside = "a further checkpoint of the student's architecture, as a column NAME; may be repeated"
    add('--beside', action='append', default=[], metavar='NAME=CKPT', help=beside)
    add('--name', help="heading of CKPT's column (default: student; network where the config is plain)")
    add('--out', help='folder of the pictures (default: WORK_DIR/visualize)')
    trusted = 'unpickle any object that the checkpoints of this command line hold; it may run code'
    add('--trusted', action='store_true', help=trusted)
    add_run_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Path]:
    """Draw as the command line says.

    Args:
        argv (list[str], optional): Arguments; the process's own if None. Defaults to None.

    Returns:
        list[Path]: The files.
    """
    args = parse_args(argv)
    if args.launcher != 'none':
        raise ValueError(f'--launcher {args.launcher}: one process draws. Leave it out.')
    check_file(args.checkpoint, 'CKPT')
    cfg = read_config(args)
    from kd_methods.engine.launch import fit_to_device
    from kd_methods.networks.config import is_distillation
    from kd_methods.visualize.run import Options, visualize

    fit_to_device(cfg)
    distilling = is_distillation(cfg)
    if args.teacher_ckpt:
        if not distilling:
            raise ValueError(f'--teacher-ckpt: {args.config} is a plain config, which has no teacher.')
        cfg.model.teacher_ckpt = args.teacher_ckpt
        cfg.model.teacher_ckpt_trusted = args.trusted
    own = args.name or ('student' if distilling else 'network')
    checkpoints = {own: ('CKPT', args.checkpoint)}
    for entry in args.beside:
        name, _, path = entry.partition('=')
        if not name or not path:
            raise ValueError(
                f'--beside {entry}: expected NAME=CKPT, a heading and a checkpoint of the same '
                'architecture, such as alone=work_dirs/alone/best.pth'
            )
        if name in (there := ['teacher'] * distilling + list(checkpoints)):
            raise ValueError(f'--beside {entry}: there is a column {name!r} already, of {there}')
        checkpoints[name] = (f'--beside {name}', path)
    pixels = [tuple(pixel) for pixel in args.pixel]
    options = Options(args.what, args.taps, pixels, args.click, args.tau, args.score)
    out = Path(args.out or Path(cfg.work_dir) / 'visualize')
    files = visualize(cfg, checkpoints, out, options, args.index, args.image, args.trusted)
    for path in files:
        print(path)
    return files


if __name__ == '__main__':
    run_tool(main)
