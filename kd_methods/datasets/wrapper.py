"""A data set around another one."""

from typing import Any


class Wrapper:
    """Passes on what samplers, loops and other wrappers ask of a data set.

    Args:
        dataset (Any): The data set inside.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    @property
    def metainfo(self) -> dict:
        """That of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """List the images."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict:
        """Where an image is."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)
