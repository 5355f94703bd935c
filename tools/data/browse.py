"""Draw samples of a data set as a config's pipeline gives them, on one sheet.

    python tools/data/browse.py CONFIG
    python tools/data/browse.py CONFIG --split val --count 20 --columns 5 --seed 1
    python tools/data/browse.py CONFIG --cfg-options train_dataloader.dataset.data_root=/path/to/cityscapes

Each sample is an image after augmentation, with its boxes and instance masks, its label map (ignored pixels
are hatched) and its X (depth, disparity, ...; one scale for all, pixels that were not measured are grey). No
network is built: what preprocessors do, such as padding and mixing of a batch, is not shown. The same seed
draws the same sheet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from entry import add_config, read_config, run_tool, tool_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_config(parser)
    add = parser.add_argument
    splits = ('train', 'val', 'test')
    add('--split', choices=splits, default='train', help='which dataloader (default: train)')
    add('--count', type=int, default=12, help='samples, drawn from the data set (default: 12)')
    add('--columns', type=int, default=4, help='samples in a line (default: 4)')
    add('--seed', type=int, default=0, help='seed of the choice and of the augmentation (default: 0)')
    add('--out', metavar='FILE.png', help='the picture (default: work_dirs/CONFIG/browse_SPLIT.png)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Path:
    """Draw as the command line says.

    Args:
        argv (list[str], optional): Arguments; the process's own if None. Defaults to None.

    Returns:
        Path: The picture.
    """
    args = parse_args(argv)
    cfg = read_config(args)
    from kd_methods.visualize.browse import browse

    out = Path(args.out or Path(cfg.work_dir) / f'browse_{args.split}.png')
    print(browse(cfg, out, args.split, args.count, args.columns, args.seed))
    return out


if __name__ == '__main__':
    run_tool(main, 'Nothing was written.')
