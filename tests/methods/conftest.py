"""What the tests of the methods' distillers share."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from toys import SIZE


@pytest.fixture(autouse=True)
def segmentation_scope(segmentation_scope):
    """In every test of this folder."""


@pytest.fixture(scope='session')
def batch():
    """Two raw images with labels in blocks of 8 x 8, the first rows ignored, as a loader collates them."""
    g = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        label = torch.randint(0, 11, (1, 8, 8), generator=g).repeat_interleave(8, 1).repeat_interleave(8, 2)
        label[:, :6] = 255
        sample = SegDataSample(gt_sem_seg=PixelData(data=label))
        sample.set_metainfo(dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE)))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, SIZE, SIZE), generator=g, dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=samples)
