"""Time and memory of C2VKD's losses: the patch term against its dense form, and PDD at either resolution.

Forward and backward; the ways alternate in one process for the times, and each has a process of its own for its peak memory
beyond the inputs. Value and gradient of the patch term's two forms are compared.

    python tools/benchmark_c2vkd.py               # both: maps of 8 x 2048 x 32 x 32; 150 classes, 2 labels of 512 x 512
    python tools/benchmark_c2vkd.py --loss patch --batch 2 --channels 256 --size 16
    python tools/benchmark_c2vkd.py --device cuda
"""

import argparse
import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from benchmark_common import alternate, median_min_max, value_and_gradient

from kd_methods.methods.c2vkd import patch_loss, pdd_loss


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--loss', choices=('patch', 'pdd', 'both'), default='both')
    parser.add_argument('--batch', type=int, default=8, help='images of the patch term; PDD takes a quarter')
    parser.add_argument('--channels', type=int, default=2048, help='of the maps of the patch term')
    parser.add_argument('--size', type=int, default=32, help='sides of these maps; labels are 16 times larger')
    parser.add_argument('--classes', type=int, default=150, help='of PDD')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1, help='CPU threads')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def dense_patch_loss(feat_S: torch.Tensor, feat_T: torch.Tensor) -> torch.Tensor:
    """The patch term as it is defined, with the relations of all positions."""
    relations = []
    for feature in (feat_S, feat_T):
        rows = torch.nn.functional.normalize(feature.movedim(1, -1).flatten(0, 2))
        rows = rows - rows.mean(1, keepdim=True)
        relations.append(rows @ rows.T)
    return (relations[0] - relations[1]).square().mean()


def make_ways(loss: str, args: argparse.Namespace) -> dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]]:
    """Functions that return value and gradient, by name; the first is this project's default."""
    torch.manual_seed(0)
    if loss == 'patch':
        shape = (args.batch, args.channels, args.size, args.size)
        student = torch.randn(shape, device=args.device).relu_().requires_grad_()
        teacher = torch.randn(shape, device=args.device).relu_()
        ways = {'factored': lambda: patch_loss(student, teacher), 'dense': lambda: dense_patch_loss(student, teacher)}
    else:
        images, side = max(args.batch // 4, 1), 4 * args.size
        student = torch.randn(images, args.classes, side, side, device=args.device, requires_grad=True)
        teacher = torch.randn(images, args.classes, side, side, device=args.device)
        label = torch.randint(0, args.classes, (images, 4 * side, 4 * side), device=args.device)
        ways = {f'at {name}': lambda name=name: pdd_loss(student, teacher, label, resolution=name)[0]
                for name in ('label', 'logits')}
        ways['cross-entropy'] = lambda: torch.nn.functional.cross_entropy(
            torch.nn.functional.interpolate(student, size=label.shape[1:], mode='bilinear'), label)
    return {name: partial(value_and_gradient, way, student) for name, way in ways.items()}


def peak(loss: str, way: str, args: argparse.Namespace, queue: multiprocessing.Queue) -> None:
    """Put into the queue the bytes that one call needs beyond its inputs."""
    torch.set_num_threads(args.threads)
    call = make_ways(loss, args)[way]
    if args.device.startswith('cuda'):
        before = torch.cuda.memory_allocated()
        call()
        queue.put(torch.cuda.max_memory_allocated() - before)
        return
    Path('/proc/self/clear_refs').write_text('5')  # the peak so far is that of the imports
    before = resident('VmRSS')
    call()
    queue.put(max(resident('VmHWM') - before, 1))


def resident(field: str) -> int:
    """Bytes of this process in memory: now ('VmRSS') or at most ('VmHWM'). Linux only."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(field)))


def peak_memory(loss: str, way: str, args: argparse.Namespace) -> int:
    """:func:`peak` in a new process."""
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=peak, args=(loss, way, args, queue))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f'{way}: the process that measures its memory ended with exit code {process.exitcode}')
    return queue.get()


def compare(loss: str, args: argparse.Namespace) -> None:
    """Print the table of a loss."""
    ways = make_ways(loss, args)
    times, results = alternate(ways, args.repeats)
    memory = {name: peak_memory(loss, name, args) for name in ways}
    first = next(iter(ways))
    base = median_min_max(times[first], 1e3)[0]
    print(f'{"":>14} {"ms (min - max)":>24} {"ratio":>7} {"peak MB":>9} {"ratio":>7}')
    for name, seconds in times.items():
        middle, low, high = median_min_max(seconds, 1e3)
        spread = f'{middle:.0f} ({low:.0f} - {high:.0f})'
        print(f'{name:>14} {spread:>24} {middle / base:7.2f} '
              f'{memory[name] / 2**20:9.0f} {memory[name] / memory[first]:7.2f}')
    if loss == 'patch':
        (value, gradient), (expected, wanted) = results['factored'], results['dense']
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
        print('value and gradient agree')


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    print(f'{args.device}, {args.threads} thread(s), forward + backward, median of {args.repeats}')
    if args.loss != 'pdd':
        n = args.batch * args.size**2
        print(f'\npatch term, maps of {args.batch} x {args.channels} x {args.size} x {args.size}: {n} positions')
        compare('patch', args)
    if args.loss != 'patch':
        print(f'\nPDD, {args.classes} classes, {max(args.batch // 4, 1)} labels of {16 * args.size}^2, logits of {4 * args.size}^2')
        compare('pdd', args)


if __name__ == '__main__':
    main()
