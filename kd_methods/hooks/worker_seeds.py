"""Random numbers in data loading workers that depend on the batch and not on the worker's life so
far."""

from collections.abc import Callable

from torch.utils.data import DataLoader, get_worker_info

from kd_methods.hooks.rng import seed_all


class WorkerSeeds:
    """Seed a worker before each batch by the batch's number, so that a run can go on at any batch.

    As it is, a worker is seeded when it starts (mmengine: by the run's seed and the worker's
    number), and what its transforms draw depends on all batches that it has made since. A resumed
    run starts new workers, whose generators can't be brought to where the old ones were: those are
    other processes, and ahead of the training by what they have fetched in advance. A number per
    batch needs no state at all.

    torch hands the batches of an iterator to its workers in turn, so worker ``w`` of ``W`` makes
    its batches ``w``, ``w + W``, ... It is seeded when it starts, for the first, and whenever it
    has collated a batch, for its next.

    Args:
        seed (int): Seed of the run.
        rank (int): Number of this process. Defaults to 0.
        length (int, optional): Batches of an epoch, after which persistent workers begin with the
            first again; None where batches never end. Defaults to None.
    """

    def __init__(self, seed: int, rank: int = 0, length: int | None = None) -> None:
        self.seed = seed
        self.rank = rank
        self.length = length
        self.start = 0  # number of the first batch of the next iterator; the main process keeps it
        self._collate: Callable | None = None
        self._init: Callable | None = None
        self._next = 0

    def attach(self, loader: DataLoader) -> None:
        """Take the places of the loader's ``collate_fn`` and ``worker_init_fn`` (which are still
        called)."""
        self._collate, self._init = loader.collate_fn, loader.worker_init_fn
        loader.collate_fn, loader.worker_init_fn = self.collate, self.init_worker

    def init_worker(self, worker_id: int) -> None:
        """In the worker, before its first batch."""
        if self._init is not None:
            self._init(worker_id)
        self._next = self.start + worker_id
        self._seed_next()

    def collate(self, samples: list):
        """In the worker, after the samples of a batch were made."""
        batch = self._collate(samples)
        worker = get_worker_info()
        if worker is not None:
            self._next += worker.num_workers
            if self.length is not None and self._next >= self.start + self.length:
                self.start += self.length
                self._next = self.start + worker.id
            self._seed_next()
        return batch

    def _seed_next(self) -> None:
        # A large odd factor keeps the streams of neighbouring runs (seed, seed + 1) and ranks
        # apart.
        mixed = (self.seed * 1_000_003 + self.rank) * 1_000_003 + self._next
        seed_all(mixed % 2**63)
