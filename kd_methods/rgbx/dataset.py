"""Data sets whose images come with a second modality X."""

import os.path as osp

from mmengine import fileio
from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset, CityscapesDataset

from kd_methods.rgbx.pipeline import check_pipeline
from kd_methods.utils.files import check_path
from kd_methods.utils.text import first_few

PREFIX = 'x_path'


def check_folders(dataset: BaseSegDataset, cure: str, *prefixes: str) -> None:
    """Raise unless the folders that a data set's ``data_prefix`` names are there."""
    for key in prefixes:
        if dataset.data_prefix.get(key):
            reader = f'{type(dataset).__name__} (data_prefix.{key})'
            check_path(reader, dataset.data_prefix[key], cure, dataset.data_root, dataset.backend_args)


class RGBXDataset:
    """Adds the file of X to what a segmentation data set of mmseg lists; a base class to put before it.

    X lies below ``data_prefix['x_path']`` under the name that the image has below
    ``data_prefix['img_path']``, with ``x_suffix`` for ``img_suffix``; each file must be there. Without that
    prefix only RGB is read, so the same class serves a teacher that sees X and a student that does not.

    .. code-block:: python

        @DATASETS.register_module()
        class MyDataset(RGBXDataset, BaseSegDataset):
            METAINFO = dict(classes=..., palette=...)

            def __init__(self, x_suffix='.png', **kwargs):
                super().__init__(x_suffix=x_suffix, **kwargs)

    Args:
        x_suffix (str): Suffix of X's files. Defaults to '.png'.
        **kwargs: Arguments of the data set that follows.

    Raises:
        FileNotFoundError: There is no such folder, or files are missing in it.
        ValueError: The pipeline loads X and there is none, or a transform would move the image and not X.
    """

    def __init__(self, x_suffix: str = '.png', **kwargs) -> None:
        self.x_suffix = x_suffix
        super().__init__(**kwargs)
        name = type(self).__name__
        if check_pipeline(self.pipeline.transforms, f'{name}.pipeline') and not self.data_prefix.get(PREFIX):
            prefix = f'data_prefix={dict(self.data_prefix)}'
            cure = f'Set data_prefix.{PREFIX}'
            raise ValueError(f'{name}: the pipeline loads X, but {prefix} does not say where it is. {cure}')

    def load_data_list(self) -> list[dict]:
        """List the images, each with ``x_path`` where the data set has X."""
        data_list = super().load_data_list()
        folder = self.data_prefix.get(PREFIX)
        if not folder:
            return data_list
        name = type(self).__name__
        check_folders(self, f'Put X there, or leave {PREFIX} out to read RGB alone.', PREFIX)
        which = dict(list_dir=False, suffix=self.x_suffix, recursive=True, backend_args=self.backend_args)
        there = {osp.normpath(path) for path in fileio.list_dir_or_file(folder, **which)}
        missing = []
        for info in data_list:
            image = osp.relpath(info['img_path'], self.data_prefix['img_path'])
            path = image.removesuffix(self.img_suffix) + self.x_suffix
            info[PREFIX] = osp.join(folder, path)
            if osp.normpath(path) not in there:
                missing.append(info[PREFIX])
        if missing:
            files = first_few(list(map(repr, missing)), 2)
            suffixes = f'{self.x_suffix!r} (x_suffix) for {self.img_suffix!r}'
            lack = f'{len(missing)} of {len(data_list)} images have no X: no file {files}'
            cure = f'Expected below data_prefix.{PREFIX}: the name of the image with {suffixes}'
            raise FileNotFoundError(f'{name}: {lack}. {cure}.')
        return data_list


@DATASETS.register_module()
class CityscapesDisparityDataset(RGBXDataset, CityscapesDataset):
    """Cityscapes with the official disparity maps as X (``disparity_trainvaltest.zip``).

    A 16-bit value p stands for a disparity of (p - 1) / 256 pixels, 0 for none:
    ``LoadXFromFile(scale=1 / 256, offset=-1 / 256)``.

    Args:
        x_suffix (str): Defaults to '_disparity.png'.
        **kwargs: Arguments of ``RGBXDataset`` and ``CityscapesDataset``.
    """

    def __init__(self, x_suffix: str = '_disparity.png', **kwargs) -> None:
        super().__init__(x_suffix=x_suffix, **kwargs)
