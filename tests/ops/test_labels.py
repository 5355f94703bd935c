import pytest
import torch
import torch.nn.functional as F

from kd_methods.ops.labels import fill_ignored, resize_labels, valid_mask

SIZES = [((64, 96), (8, 12)), ((5, 7), (10, 21)), ((33, 65), (5, 9))]


@pytest.mark.parametrize('source, size', SIZES)
def test_resize_is_nearest_interpolation(source, size):
    label = torch.randint(0, 255, (2, *source))
    expected = F.interpolate(label[:, None].double(), size, mode='nearest')[:, 0].long()
    assert torch.equal(resize_labels(label, size), expected)


def test_resize_keeps_large_and_negative_labels():
    label = torch.tensor([[[2**40 + 1, -7], [0, 255]]])
    assert torch.equal(resize_labels(label, (2, 2)), label)
    assert resize_labels(label, (4, 1)).flatten().tolist() == [2**40 + 1, 2**40 + 1, 0, 0]


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_resize_takes_both_layouts_and_every_integer_type(dtype):
    label = torch.randint(0, 100, (3, 8, 8)).to(dtype)
    out = resize_labels(label[:, None], (4, 4))
    assert out.dtype == torch.int64
    assert torch.equal(out, label[:, ::2, ::2].long())
    assert torch.equal(out, resize_labels(label, (4, 4)))


@pytest.mark.parametrize(
    'label, error, text',
    [
        ([[0]], TypeError, 'Got: list'),
        (torch.zeros(1, 4, 4), TypeError, 'float32; use label.long()'),
        (torch.zeros(1, 4, 4, dtype=torch.bool), TypeError, 'torch.bool'),
        (torch.zeros(1, 3, 4, 4, dtype=torch.long), ValueError, r'Got: \(1, 3, 4, 4\)'),
        (torch.zeros(4, 4, dtype=torch.long), ValueError, r'Got: \(4, 4\)'),
    ],
)
def test_resize_names_what_is_wrong(label, error, text):
    with pytest.raises(error, match=text):
        resize_labels(label, (2, 2))


def test_valid_mask():
    label = torch.tensor([-1, 0, 1, 2, 3, 254, 255])
    assert valid_mask(label, 3).tolist() == [False, True, True, True, False, False, False]
    # An ignored label may be a class (a background that takes no part), and 255 may be one.
    assert valid_mask(label, 3, ignore_index=0).tolist() == [False, False, True, True] + [False] * 3
    assert valid_mask(label, 256).tolist() == [False] + [True] * 5 + [False]
    assert valid_mask(label, 256, ignore_index=None).tolist() == [False] + [True] * 6


@pytest.mark.parametrize('fill, expected', [(None, 300), (0, 0)])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int16])
def test_fill_ignored(dtype, fill, expected):
    label, valid = fill_ignored(torch.tensor([[7, 255]], dtype=dtype), 300, fill=fill)
    assert label.dtype == torch.int64
    assert label.tolist() == [[7, expected]]
    assert valid.tolist() == [[True, False]]


def test_filled_labels_are_safe_to_one_hot():
    label = torch.tensor([[-100, 0, 4, 5, 255]])
    filled, valid = fill_ignored(label, 5)
    one_hot = F.one_hot(filled, 6)[..., :5]
    assert one_hot.sum(-1).bool().equal(valid)
