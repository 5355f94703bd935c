"""Image pairs a second that tools/data/check.py reads, against decoding the same files with PIL alone.

Photographs with noise, about 1 MB each, and label maps of 19 classes as PNG, written to a temporary folder
and read from there in turn by both ways, in as many processes; the ratio is of the medians.

    python benchmarks/data_check.py                  # 200 pairs of 512 x 1024, 2 processes
    python benchmarks/data_check.py --workers 1
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import alternate, median_min_max
from PIL import Image

from kd_methods.data_check.scan import Sample, scan
from kd_methods.utils.parallel import run_parallel


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--pairs', type=int, default=200)
    parser.add_argument('--size', type=int, nargs=2, default=(512, 1024), metavar=('H', 'W'))
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--repeats', type=int, default=5)
    return parser.parse_args(argv)


def write_pairs(folder: Path, pairs: int, size: tuple[int, int]) -> list[Sample]:
    """Pairs of a photograph and a label map that cost a decoder as much as real ones."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo).resize(size[::-1]) for photo in load_sample_images().images]
    samples = []
    for i in range(pairs):
        rng = np.random.default_rng(i)
        photo = photos[i % len(photos)]
        noisy = np.clip(np.asarray(photo) + rng.normal(0, 3, (*size, 3)), 0, 255).astype(np.uint8)
        grey = photo.convert('L').resize((size[1] // 8, size[0] // 8)).resize(size[::-1], Image.NEAREST)
        image_path, label_path = str(folder / f'{i}.png'), str(folder / f'{i}_label.png')
        Image.fromarray(noisy).save(image_path)
        Image.fromarray(np.asarray(grey) // 14).save(label_path)
        samples.append(Sample(image_path, label_path))
    return samples


def decode(sample: Sample) -> None:
    """Both files, and nothing else."""
    for path in sample[:2]:
        with Image.open(path) as image:
            image.load()


def main(argv: list[str] | None = None) -> float:
    """Print the figures and return the ratio of the times."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        samples = write_pairs(Path(folder), args.pairs, tuple(args.size))
        ways = {
            'bare decode': lambda: list(run_parallel(decode, samples, args.workers)),
            'check': lambda: list(run_parallel(scan, samples, args.workers)),
        }
        times, results = alternate(ways, args.repeats)
        megabytes = sum(Path(sample.image).stat().st_size for sample in samples) / args.pairs / 1e6
    assert not any(seen.problems for seen in results['check'])
    print(
        f'{args.pairs} pairs of {args.size[0]} x {args.size[1]}, {megabytes:.2f} MB an image, '
        f'{args.workers} process(es), median of {args.repeats} (min - max)'
    )
    middle = {}
    for name, seconds in times.items():
        middle[name], low, high = median_min_max(seconds)
        most, least = args.pairs / low, args.pairs / high
        print(f'{name:>12}: {args.pairs / middle[name]:7.1f} pairs/s ({least:.1f} - {most:.1f})')
    ratio = middle['check'] / middle['bare decode']
    print(f'the check takes {ratio:.2f} times as long as the bare decode')
    return ratio


if __name__ == '__main__':
    main()
