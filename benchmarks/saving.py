"""Wall time of saving a checkpoint: this package's way against mmengine's own, in one process.

    python benchmarks/saving.py [--megabytes 100] [--repeats 15]

Ours writes next to the place, flushes to disk and renames; mmengine's writes in place, from a copy in
memory. Both write to the folder of --out by turns. The ratio is that of the medians.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import kd_methods  # noqa: F401
from kd_methods.compat import checkpoint_files


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--megabytes', type=int, default=100, help='size of the checkpoint (%(default)s)')
    parser.add_argument('--repeats', type=int, default=15, help='saves of each kind (%(default)s)')
    parser.add_argument('--out', help='folder to write to (a temporary one)')
    args = parser.parse_args()
    tensors = {f'layer{i}.weight': torch.randn(256, 1024) for i in range(args.megabytes)}  # 1 MiB each
    checkpoint = dict(state_dict=tensors, meta=dict(iter=1))
    ways = dict(mmengine=checkpoint_files.stock_save, ours=checkpoint_files.write_checkpoint)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        for i in range(args.repeats + 2):
            for name, save in ways.items():
                start = time.perf_counter()
                save(checkpoint, str(Path(folder) / f'{name}.pth'))
                if i >= 2:  # the first two warm up
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        print(f'{name:9} median {medians[name]:.3f} s, {min(values):.3f} to {max(values):.3f}')
    ratio = medians['ours'] / medians['mmengine']
    print(f'ours / mmengine: {ratio:.2f} ({args.megabytes} MiB, {args.repeats} saves)')


if __name__ == '__main__':
    main()
