"""Time and memory of BCD's losses, each against the form in which it is defined.

The self-relation in blocks of rows is compared with the dense form, the boundaries with what autograd makes
of them: forward and backward. The ways alternate in one process for the times, and each has its own process
for its peak memory beyond the inputs. Value and gradient of the two forms are compared.

    python benchmarks/bcd.py        # maps of 1 x 512 x 64 x 128: an image of 512 x 1024 at stride 8
    python benchmarks/bcd.py --loss context --height 32 --width 64
    python benchmarks/bcd.py --device cuda
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from common import check_agreement, compare, loss_parser, value_and_gradient

from kd_methods.methods.bcd import boundary_loss, context_loss


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = loss_parser(__doc__, repeats=3)
    parser.add_argument('--loss', choices=('context', 'boundary', 'both'), default='both')
    parser.add_argument('--batch', type=int, default=1, help='images')
    parser.add_argument('--channels', type=int, default=512, help='of the maps')
    parser.add_argument('--height', type=int, default=64, help='of the maps')
    parser.add_argument('--width', type=int, default=128, help='of the maps')
    return parser.parse_args(argv)


def dense_context_loss(feat_S: torch.Tensor, feat_T: torch.Tensor, tau: float = 0.1) -> torch.Tensor:
    """The context loss as it is defined, with the relations of all pairs of places."""
    log_S, log_T = (
        (phi.mT @ phi / tau).log_softmax(2) for phi in (F.normalize(x.flatten(2)) for x in (feat_S, feat_T))
    )
    return F.kl_div(log_S, log_T, reduction='sum', log_target=True) / log_S[..., 0].numel()


def plain_boundary_loss(feat_S: torch.Tensor, feat_T: torch.Tensor) -> torch.Tensor:
    """The boundary loss of one level as it is defined, with the differences to all neighbours."""
    maps = []
    for feature in (feat_S, feat_T):
        n = F.normalize(feature)
        padded = F.pad(n, (1, 1, 1, 1), mode='replicate')
        h, w = n.shape[2:]
        around = ((y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1))
        distances = [(n - padded[..., y : y + h, x : x + w]).square().sum(1) / 4 for y, x in around]
        maps.append(torch.stack(distances, 1).amax(1))
    return (maps[1] - maps[0]).square().mean()


def make_ways(loss: str, args: argparse.Namespace) -> dict[str, Callable]:
    """Functions that return value and gradient, by name; the first is this project's."""
    torch.manual_seed(0)
    shape = (args.batch, args.channels, args.height, args.width)
    student = torch.randn(shape, device=args.device).requires_grad_()
    teacher = torch.randn(shape, device=args.device)
    if loss == 'context':
        ways = dict(blocks=partial(context_loss, tokens=None), dense=dense_context_loss)
    else:
        ways = dict(here=lambda S, T: boundary_loss([S], [T])[0], autograd=plain_boundary_loss)
    calls = {name: partial(way, student, teacher) for name, way in ways.items()}
    return {name: partial(value_and_gradient, call, student) for name, call in calls.items()}


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    print(
        f'{args.device}, {args.threads} thread(s), forward + backward, median of {args.repeats}; maps of '
        f'{args.batch} x {args.channels} x {args.height} x {args.width}: {args.height * args.width} places '
        'an image'
    )
    for loss in ('context', 'boundary'):
        if args.loss in (loss, 'both'):
            print(f'\n{loss}')
            results = compare(partial(make_ways, loss), args)
            check_agreement(results, *results)


if __name__ == '__main__':
    main()
