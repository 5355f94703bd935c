import pytest
import torch

from kd_methods.ops.prototypes import class_prototypes, pairwise_distance
from kd_methods.ops.vectors import unit_vectors


def scene(n=2, c=5, size=6, classes=4, ignored=0.2):
    feature = torch.randn(n, c, size, size, dtype=torch.float64)
    label = torch.randint(0, classes, (n, size, size))
    return feature, label.masked_fill(torch.rand(label.shape) < ignored, 255)


@pytest.mark.parametrize('scope', ['image', 'batch'])
@pytest.mark.parametrize('min_pixels', [1, 8])
def test_prototypes_are_masked_means(scope, min_pixels):
    torch.manual_seed(0)
    feature, label = scene()
    prototypes, present = class_prototypes(feature, label, 6, scope, min_pixels)
    groups = [[0], [1]] if scope == 'image' else [[0, 1]]
    assert prototypes.shape == (len(groups), 6, 5)
    for i, images in enumerate(groups):
        for k in range(6):
            pixels = feature[images].transpose(0, 1)[:, label[images] == k]
            assert present[i, k] == (pixels.shape[1] >= min_pixels)
            expected = pixels.mean(1) if present[i, k] else torch.zeros(5, dtype=torch.float64)
            torch.testing.assert_close(prototypes[i, k], expected)


def test_a_class_of_exactly_min_pixels_counts():
    label = torch.tensor([[[0, 0, 0, 1, 1, 2]]])
    _, present = class_prototypes(torch.randn(1, 3, 1, 6), label, 3, min_pixels=2)
    assert present.tolist() == [[True, True, False]]


def test_half_precision_is_summed_in_float32():
    feature = torch.full((1, 1, 128, 128), 1000.0, dtype=torch.float16)  # the sum is 1.6e7
    label = torch.zeros(1, 128, 128, dtype=torch.long)
    prototypes, _ = class_prototypes(feature, label, 1)
    assert prototypes.dtype == torch.float32
    assert prototypes.item() == 1000.0


def test_channels_last_changes_nothing():
    feature, label = scene()
    last = feature.to(memory_format=torch.channels_last)
    assert class_prototypes(last, label, 4)[0].equal(class_prototypes(feature, label, 4)[0])


def test_gradcheck():
    torch.manual_seed(0)
    feature, label = scene(n=2, c=2, size=3)
    feature.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: class_prototypes(f, label, 4)[0], feature)


def test_messages():
    feature, label = scene()
    with pytest.raises(ValueError, match="scope='images' is not known. Possible: 'image', 'batch'"):
        class_prototypes(feature, label, 4, scope='images')
    with pytest.raises(TypeError, match='Got: tuple'):
        class_prototypes((feature,), label, 4)
    with pytest.raises(ValueError, match=r'floating-point map .* torch.int64'):
        class_prototypes(feature.long(), label, 4)
    with pytest.raises(ValueError, match=r'same batch size. Got: label \(1, 6, 6\)'):
        class_prototypes(feature, label[:1], 4)


def test_pairwise_distance_equals_the_differences_and_their_gradient():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 5, dtype=torch.float64)
    expected = (x.unsqueeze(2) - y.unsqueeze(1)).norm(dim=-1)
    dist = pairwise_distance(x, y)
    torch.testing.assert_close(dist, expected)
    got = torch.autograd.grad((dist * weight).sum(), (x, y))
    torch.testing.assert_close(got, torch.autograd.grad((expected * weight).sum(), (x, y)))
    assert torch.autograd.gradcheck(pairwise_distance, (x, y))
    assert torch.autograd.gradgradcheck(pairwise_distance, (x, y))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equal_vectors_have_distance_and_gradient_zero(dtype):
    torch.manual_seed(0)
    x = (1e3 * torch.randn(1, 7, 64, dtype=dtype)).requires_grad_()
    diagonal = pairwise_distance(x, x.detach()).diagonal(dim1=1, dim2=2)
    assert diagonal.eq(0).all()
    diagonal.sum().backward()
    assert x.grad.eq(0).all()


def test_unit_vectors():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-20, 0.0]], dtype=torch.float64).requires_grad_()
    unit = unit_vectors(x)
    expected = torch.tensor([[0.6, 0.8], [0, 0], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(unit, expected)
    unit[:2].sum().backward()
    torch.testing.assert_close(x.grad[0], torch.tensor([0.032, -0.024], dtype=torch.float64))
    assert x.grad[1].eq(0).all()
