"""Time and memory of C2VKD's losses: the patch term against its dense form, and PDD at either resolution.

Forward and backward. The ways alternate in one process for the times, and each has its own process for its
peak memory beyond the inputs. Value and gradient of the patch term's two forms are compared.

    python benchmarks/c2vkd.py      # both: maps of 8 x 2048 x 32 x 32; 150 classes, 2 labels of 512 x 512
    python benchmarks/c2vkd.py --loss patch --batch 2 --channels 256 --size 16
    python benchmarks/c2vkd.py --device cuda
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from common import check_agreement, compare, loss_parser, value_and_gradient

from kd_methods.methods.c2vkd import patch_loss, pdd_loss


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = loss_parser(__doc__, repeats=3)
    parser.add_argument('--loss', choices=('patch', 'pdd', 'both'), default='both')
    parser.add_argument('--batch', type=int, default=8, help='images of the patch term; PDD takes a quarter')
    parser.add_argument('--channels', type=int, default=2048, help='of the maps of the patch term')
    parser.add_argument('--size', type=int, default=32, help='sides of these maps; labels: 16 times larger')
    parser.add_argument('--classes', type=int, default=150, help='of PDD')
    return parser.parse_args(argv)


def dense_patch_loss(feat_S: torch.Tensor, feat_T: torch.Tensor) -> torch.Tensor:
    """The patch term as it is defined, with the relations of all positions."""
    relations = []
    for feature in (feat_S, feat_T):
        rows = F.normalize(feature.movedim(1, -1).flatten(0, 2))
        rows = rows - rows.mean(1, keepdim=True)
        relations.append(rows @ rows.T)
    return (relations[0] - relations[1]).square().mean()


def make_ways(loss: str, args: argparse.Namespace) -> dict[str, Callable]:
    """Functions that return value and gradient, by name; the first is this project's default."""
    torch.manual_seed(0)
    if loss == 'patch':
        shape = (args.batch, args.channels, args.size, args.size)
        student = torch.randn(shape, device=args.device).relu_().requires_grad_()
        teacher = torch.randn(shape, device=args.device).relu_()
        losses = dict(factored=patch_loss, dense=dense_patch_loss)
        ways = {name: partial(loss, student, teacher) for name, loss in losses.items()}
    else:
        images, side = max(args.batch // 4, 1), 4 * args.size
        student = torch.randn(images, args.classes, side, side, device=args.device, requires_grad=True)
        teacher = torch.randn(images, args.classes, side, side, device=args.device)
        label = torch.randint(0, args.classes, (images, 4 * side, 4 * side), device=args.device)
        ways = {
            f'at {name}': lambda name=name: pdd_loss(student, teacher, label, resolution=name)[0]
            for name in ('label', 'logits')
        }
        ways['cross-entropy'] = lambda: F.cross_entropy(
            F.interpolate(student, size=label.shape[1:], mode='bilinear'), label
        )
    return {name: partial(value_and_gradient, way, student) for name, way in ways.items()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    print(f'{args.device}, {args.threads} thread(s), forward + backward, median of {args.repeats}')
    size, images = args.size, max(args.batch // 4, 1)
    maps = f'{args.batch} x {args.channels} x {size} x {size}: {args.batch * size**2} positions'
    labels = f'{images} labels of {16 * size}^2, logits of {4 * size}^2'
    if args.loss != 'pdd':
        print(f'\npatch term, maps of {maps}')
        check_agreement(compare(partial(make_ways, 'patch'), args), 'factored', 'dense')
    if args.loss != 'patch':
        print(f'\nPDD, {args.classes} classes, {labels}')
        compare(partial(make_ways, 'pdd'), args)


if __name__ == '__main__':
    main()
