"""How time and memory of each loss grow with classes, tokens, channels and images.

From one size (19 classes, 1,024 places, 256 channels, 2 images), one of the four is doubled again and again;
the loss runs forward and backward on noise, at its defaults. The exponent p of a cost that goes as size^p is
fitted by least squares to the logarithms of all sizes; 0 means that it does not grow, 1 that it is linear.

    python benchmarks/growth.py --plot growth.png --json growth.json
    python benchmarks/growth.py --losses ARFD PDD --axes tokens --device cuda

Logits and labels: the labels have four times the height and width of the logits.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import alternate, median_min_max, peak_of
from torch import Tensor

from kd_methods.methods.bcd import BoundaryDistillLoss, ContextDistillLoss
from kd_methods.methods.c2vkd import PDDLoss, VLFDLoss
from kd_methods.methods.dmkd import DMKDLoss
from kd_methods.methods.feature_kd import FeatureKDLoss
from kd_methods.methods.i2ckd import I2CKDLoss
from kd_methods.methods.lix import ARFDLoss, DWLDLoss
from kd_methods.methods.logit_kd import LogitKDLoss

BASE = dict(classes=19, tokens=1024, channels=256, images=2)
AXES = dict(
    classes=(19, 38, 75, 150),
    tokens=(1024, 2304, 4096, 9216, 16384),  # squares, since maps are square here
    channels=(256, 512, 1024, 2048),
    images=(2, 4, 8, 16),
)
WIDTHS = ('student_channels', 'teacher_channels')
#: Of each loss: its class, which sizes its constructor takes, and what its forward takes.
LOSSES: dict[str, tuple[type, tuple[str, ...], tuple[str, ...]]] = {
    'I2CKD': (I2CKDLoss, (*WIDTHS, 'num_classes'), ('feat', 'label')),
    'VLFD': (VLFDLoss, WIDTHS, ('feat',)),
    'PDD': (PDDLoss, (), ('logits', 'label')),
    'DWLD': (DWLDLoss, (), ('logits', 'label')),
    'ARFD': (ARFDLoss, (), ('feat',)),
    'boundary': (BoundaryDistillLoss, (), ('feat_0',)),
    'context': (ContextDistillLoss, (), ('feat',)),
    'DMKD': (DMKDLoss, WIDTHS, ('feat',)),
    'logit KD': (LogitKDLoss, (), ('logits',)),
    'feature KD': (FeatureKDLoss, WIDTHS, ('feat',)),
}


def make_loss(name: str, size: dict[str, int], device: str) -> Callable[[], float]:
    """A call that runs a loss forward and backward."""
    cls, sizes, given = LOSSES[name]
    torch.manual_seed(0)
    known = dict(num_classes=size['classes'], **dict.fromkeys(WIDTHS, size['channels']))
    loss = cls(**{key: known[key] for key in sizes}).to(device)
    side = math.isqrt(size['tokens'])
    arguments: dict[str, Tensor] = {}
    for kind in given:
        if kind == 'label':
            shape = (size['images'], 4 * side, 4 * side)
            arguments['label'] = torch.randint(0, size['classes'], shape, device=device)
            continue
        channels = size['classes' if kind == 'logits' else 'channels']
        stem, _, number = kind.partition('_')
        for network in 'ST':
            x = torch.randn(size['images'], channels, side, side, device=device)
            key = f'{stem}_{network}' + (f'_{number}' if number else '')
            arguments[key] = x.requires_grad_(network == 'S')

    def run() -> float:
        value = loss(**arguments)
        value.backward()
        return value.detach()

    return run


def exponent(sizes: tuple[int, ...], costs: list[float]) -> float:
    """The p of the power law that fits best."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (sizes, costs))
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def measure(name: str, axis: str, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds and bytes of a loss along an axis."""
    seconds, peaks = [], []
    for value in AXES[axis]:
        run = make_loss(name, {**BASE, axis: value}, args.device)
        run()
        peaks.append(peak_of(run, args.device))
        times, _ = alternate(dict(run=run), args.repeats, 0)
        seconds.append(median_min_max(times['run'])[0])
    cost = dict(time=exponent(AXES[axis], seconds), memory=exponent(AXES[axis], peaks))
    return dict(loss=name, axis=axis, sizes=AXES[axis], seconds=seconds, peak_bytes=peaks, exponents=cost)


def table(found: list[dict], axes: list[str]) -> str:
    """Exponents of time and memory, as Markdown."""
    by = {(f['loss'], f['axis']): f for f in found}
    names = list(dict.fromkeys(f['loss'] for f in found))
    base = ', '.join(f'{value:,} {name}' for name, value in BASE.items())
    lines = [f'| loss | ms | MB | {" | ".join(axes)} |', '|---|---:|---:|' + '---|' * len(axes)]
    for name in names:
        first = by[name, axes[0]]
        cells = [f'{first["seconds"][0] * 1e3:.1f}', f'{first["peak_bytes"][0] / 2**20:.1f}']
        for axis in axes:
            p = by[name, axis]['exponents']
            cells.append(f'{p["time"]:.2f}, {p["memory"]:.2f}')
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join([f'ms and MB at {base}; then exponents of time and memory:', '', *lines])


def draw(found: list[dict], axes: list[str], path: Path) -> None:
    """Time and memory over each axis, one line a loss."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(f['loss'] for f in found))
    colours = dict(zip(names, plt.get_cmap('tab10').colors))
    figure, panels = plt.subplots(
        2, len(axes), figsize=(3.2 * len(axes) + 1.6, 6), squeeze=False, sharey='row'
    )
    for column, axis in enumerate(axes):
        for f in (f for f in found if f['axis'] == axis):
            line = dict(color=colours[f['loss']], marker='o', markersize=3, label=f['loss'])
            panels[0, column].plot(f['sizes'], [1e3 * s for s in f['seconds']], **line)
            panels[1, column].plot(f['sizes'], [b / 2**20 for b in f['peak_bytes']], **line)
        for panel in panels[:, column]:
            panel.set(xscale='log', yscale='log', xlabel=axis)
            panel.set_xticks(AXES[axis], [f'{v:,}' for v in AXES[axis]])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel('ms, forward and backward')
    panels[1, 0].set_ylabel('peak memory, MB')
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc='outside right upper', frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - 1.4 / (3.2 * len(axes) + 1.6), 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add('--losses', nargs='+', choices=LOSSES, default=list(LOSSES), metavar='LOSS', help=', '.join(LOSSES))
    add('--axes', nargs='+', choices=AXES, default=list(AXES), metavar='AXIS', help=', '.join(AXES))
    add('--repeats', type=int, default=3, help='timed runs of each size (%(default)s)')
    add('--threads', type=int, default=torch.get_num_threads(), help='CPU threads (%(default)s)')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu', help='(%(default)s)')
    add('--json', type=Path, metavar='FILE', help='write all figures here')
    add('--plot', type=Path, metavar='FILE', help='draw them here')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[dict]:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    found = []
    for name in args.losses:
        for axis in args.axes:
            found.append(measure(name, axis, args))
            p = found[-1]['exponents']
            print(f'{name} over {axis}: time^{p["time"]:.2f}, memory^{p["memory"]:.2f}', flush=True)
    print('\n' + table(found, args.axes))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + '\n')
    if args.plot:
        draw(found, args.axes, args.plot)
    return found


if __name__ == '__main__':
    main()
