import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import kd_methods  # noqa: F401
from kd_methods.rgbx import RGBXDataPreProcessor

MEAN, STD = [10.0, 20.0, 30.0], [1.0, 2.0, 4.0]


def preprocessor(**options):
    cfg = dict(mean=MEAN, std=STD, x_mean=[5.0], x_std=[10.0], bgr_to_rgb=True, size=(6, 8))
    return RGBXDataPreProcessor(**{**cfg, **options})


def data(channels=4, size=(6, 8)):
    image = torch.arange(1.0, channels + 1).view(-1, 1, 1).expand(-1, *size).clone()
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, *size, dtype=torch.long)))
    return dict(inputs=[image, 2 * image], data_samples=[sample, sample.clone()])


def test_rgb_and_x_by_their_own_statistics():
    out = preprocessor()(data(), True)['inputs']
    # blue, green, red, X = 1, 2, 3, 4
    assert out[0, :, 0, 0].tolist() == pytest.approx([(3 - 10) / 1, (2 - 20) / 2, (1 - 30) / 4, (4 - 5) / 10])
    assert out[1, 3].eq((8 - 5) / 10).all()


def test_padding_comes_after_normalisation():
    out = preprocessor()(data(size=(4, 5)), True)
    assert out['inputs'].shape == (2, 4, 6, 8)
    assert out['inputs'][:, :, 4:].eq(0).all() and out['inputs'][:, :, :, 5:].eq(0).all()
    assert out['data_samples'][0].gt_sem_seg.data[0, 5, 7] == 255


def test_order_of_colours_may_stay():
    out = preprocessor(bgr_to_rgb=False)(data(), False)['inputs']
    assert out[0, :, 0, 0].tolist() == pytest.approx([-9, -9, -6.75, -0.1])


def test_rgb_alone_is_taken_at_test_only():
    out = preprocessor()(data(3), False)['inputs']
    assert out.shape[1] == 3 and out[0, :, 0, 0].tolist() == pytest.approx([-7, -9, -7.25])
    with pytest.raises(
        ValueError,
        match='an image has 3 channels, expected 4: R, G, B and 1 of X .*In training X must be there',
    ):
        preprocessor()(data(3), True)
    with pytest.raises(ValueError, match='an image has 5 channels, expected 4'):
        preprocessor()(data(5), False)


def test_three_channels_of_x():
    out = preprocessor(x_mean=[1.0, 2.0, 3.0], x_std=[1.0, 1.0, 2.0])(data(6), True)['inputs']
    assert out[0, 3:, 0, 0].tolist() == [3.0, 3.0, 1.5]  # 4, 5, 6, in their own order


@pytest.mark.parametrize(
    'cfg', [dict(mean=[1.0]), dict(x_mean=[1.0, 2.0]), dict(x_mean=[], x_std=[])], ids=str
)
def test_statistics_that_do_not_fit(cfg):
    with pytest.raises(ValueError, match='one for each channel of X'):
        preprocessor(**cfg)
    with pytest.raises(ValueError, match='above 0'):
        preprocessor(x_std=[0.0])


def test_numbers_in_place_of_lists_and_the_other_order_are_named():
    with pytest.raises(TypeError, match=r'x_mean=\[3.0\]. Got: x_mean=5.0'):
        preprocessor(x_mean=5.0)
    with pytest.raises(ValueError, match='bgr_to_rgb=True, and left with False'):
        preprocessor(rgb_to_bgr=True)


def test_buffers_are_in_no_checkpoint():
    assert not preprocessor().state_dict()
