"""Write a small COCO, for quick trials, out of the whole one.

    python tools/data/coco_subset.py data/coco --out data/coco_small
    python tools/data/coco_subset.py data/coco --out data/coco_street --train 2000 --classes person car

COCO holds train2017/, val2017/ and annotations/instances_{train,val}2017.json, of
https://cocodataset.org/#download, and stays as it is. The subset has the same folders. Its images are drawn
among those with an object (crowds do not count) and are hard links, or copies where there can be none; do not
change them in place. With the same seed, a larger subset contains a smaller one. Reading the annotations of
the whole COCO takes a minute and 4 GB of memory.

Any config for COCO trains on it with
    --cfg-options train_dataloader.dataset.data_root=data/coco_small/ \\
        val_dataloader.dataset.data_root=data/coco_small/ \\
        test_dataloader.dataset.data_root=data/coco_small/ \\
        val_evaluator.ann_file=data/coco_small/annotations/instances_val2017.json \\
        test_evaluator.ann_file=data/coco_small/annotations/instances_val2017.json

With --classes the heads and the data sets have to know the classes, in COCO's order. In a config of your own,
in configs/baselines/:
    _base_ = ['retinanet_r50_8xb2-2x_coco.py']
    metainfo = dict(classes=('person', 'car', 'traffic light'))
    train_dataloader = dict(dataset=dict(metainfo=metainfo))
    val_dataloader = dict(dataset=dict(metainfo=metainfo))
    test_dataloader = val_dataloader
    model = dict(bbox_head=dict(num_classes=3))
and the options above. Of two-stage detectors the heads are roi_head.bbox_head and roi_head.mask_head; in a
distillation config they stand below model.architecture, and a teacher that teaches by its neck keeps its 80
classes.
"""

import argparse

from entry import run_tool, tool_parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add('source', metavar='COCO', help='folder of the whole data set')
    add('--out', required=True, help='directory of the subset')
    add('--train', type=int, default=1000, help='training images (%(default)s)')
    add('--val', type=int, default=200, help='validation images (%(default)s)')
    add('--classes', nargs='+', metavar='NAME', help='categories that are kept (default: all 80)')
    add('--seed', type=int, default=0, help='seed of the draw (%(default)s)')
    add('--overwrite', action='store_true', help='replace another subset')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the subset as the command line says and return the exit code."""
    args = parse_args(argv)
    from kd_methods.convert.coco_subset import classes_of, config_options, write_subset

    if write_subset(**vars(args)):
        print(f'{args.out}: {args.train} train and {args.val} val images')
    else:
        print(f'{args.out}: this subset is there already, nothing to do')
    print('Train on it with --cfg-options ' + ' '.join(config_options(args.out)))
    if args.classes:
        classes = classes_of(args.out)
        print(
            f'and, as --help says, metainfo = dict(classes={classes}) and num_classes={len(classes)} in the '
            'config'
        )
    return 0


if __name__ == '__main__':
    run_tool(main, 'Run the same command again to go on.')
