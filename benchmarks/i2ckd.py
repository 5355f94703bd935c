"""Time of I2CKD's loss against the same maths as a loop over images and classes.

Forward and backward of both, alternating in one process; the ratio is of the medians.

    python benchmarks/i2ckd.py                # 150 classes, 4 maps of 256 x 64 x 128
    python benchmarks/i2ckd.py --classes 19 --device cuda
    python benchmarks/i2ckd.py --pairs        # also a loop over pairs of classes: minutes
"""

import argparse
from functools import partial

import torch
from common import alternate, loss_parser, median_min_max, value_and_gradient

from kd_methods.methods.i2ckd import i2ckd_loss


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = loss_parser(__doc__, repeats=5)
    parser.add_argument('--classes', type=int, default=150)
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--channels', type=int, default=256)
    parser.add_argument('--size', type=int, nargs=2, default=(64, 128), metavar=('H', 'W'))
    parser.add_argument('--pairs', action='store_true', help='also loop over pairs of classes')
    return parser.parse_args(argv)


def loop_loss(feat_S, feat_T, label, num_classes, by_pair, margin=1.0):
    """The defaults of ``i2ckd_loss``, a Python step for each class (or each pair) of each image."""

    def distances(x, others):
        if by_pair:
            return torch.stack([(x - y).norm() for y in others])
        return (x - torch.stack(others)).norm(dim=1)

    scenes, between = [], []
    for S, T, classes in zip(feat_S.unbind(), feat_T.unbind(), label):
        proto = []
        for k in range(num_classes):
            mask = classes == k
            if mask.any():
                proto.append([S[:, mask].mean(1), T[:, mask].mean(1)])
        if len(proto) > 1:
            scenes.append([(*p, [q[1] for q in proto if q is not p]) for p in proto])
            between += [distances(T, others) for _, T, others in scenes[-1]]
    unit = torch.cat(between).median()
    means = []
    for scene in scenes:
        terms = [(S - T).norm() - distances(S, others) for S, T, others in scene]
        means.append((torch.cat(terms) / unit + margin).clamp(min=0).mean())
    return torch.stack(means).mean()


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    shape = (args.batch, args.channels, *args.size)
    feat_S = torch.randn(shape, device=args.device, requires_grad=True)
    feat_T = torch.randn(shape, device=args.device)
    label = torch.randint(0, args.classes, (args.batch, *args.size), device=args.device)

    ways = {
        'vectorised': lambda: i2ckd_loss(feat_S, feat_T, label, args.classes)[0],
        'class loop': lambda: loop_loss(feat_S, feat_T, label, args.classes, by_pair=False),
    }
    if args.pairs:
        ways['pair loop'] = lambda: loop_loss(feat_S, feat_T, label, args.classes, by_pair=True)
    calls = {name: partial(value_and_gradient, way, feat_S) for name, way in ways.items()}
    times, results = alternate(calls, args.repeats)
    for name in ways:
        torch.testing.assert_close(results[name], results['vectorised'], rtol=1e-3, atol=1e-7)

    print(
        f'{args.classes} classes, batch {args.batch}, {args.channels} x {args.size[0]} x {args.size[1]}, '
        f'{args.device}, {args.threads} thread(s), forward + backward, median of {args.repeats} (min - max)'
    )
    base = median_min_max(times['vectorised'], 1e3)[0]
    for name, seconds in times.items():
        middle, low, high = median_min_max(seconds, 1e3)
        spread = f'({low:.0f} - {high:.0f})'
        print(f'{name:>12}: {middle:9.0f} ms {spread:>18}   x {middle / base:.1f}')
    print('value and gradient agree')


if __name__ == '__main__':
    main()
