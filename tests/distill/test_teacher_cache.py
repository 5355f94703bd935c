"""The teacher's records on disk: the same losses without the teacher, and no record of another one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from toys import load_tool, tiny_distillation

from kd_methods.distill.teacher_cache import MANIFEST, SAMPLE_KEY

I2CKD = dict(type='I2CKDDistiller', logit_kd=1.0)


@pytest.fixture
def cached(distill, tmp_path):
    def make(distiller=I2CKD, **cache):
        return distill(distiller=distiller, cache_teacher=dict(folder=str(tmp_path / 'cache'), **cache))

    return make


@pytest.fixture
def keyed(batch):
    """A batch whose samples say who they are."""

    def make(keys=('a', 'b'), **options):
        data = batch(n=4, **options)
        every = dict(zip('abcd', zip(data['inputs'], data['data_samples'])))
        for name, (_, sample) in every.items():
            sample.set_metainfo({SAMPLE_KEY: name * 64})
        images, samples = zip(*(every[name] for name in keys))
        return dict(inputs=list(images), data_samples=list(samples))

    return make


@pytest.fixture
def losses_of(losses_of):
    """With the same dropout each time."""

    def run(model, data):
        torch.manual_seed(0)
        return losses_of(model, data)

    return run


def calls_of(model):
    """Images that the teacher's backbone was run on, by call."""
    seen = []
    model.teacher.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def close(got, expected, **tolerance):
    for name in ('distill.loss_i2ckd', 'distill.loss_kd'):
        assert expected[name] > 0
        torch.testing.assert_close(got[name], expected[name], **tolerance)


def test_known_samples_give_the_same_losses_and_the_teacher_does_not_run(cached, distill, keyed, losses_of):
    model = cached()
    seen = calls_of(model)
    expected = losses_of(distill(distiller=I2CKD), keyed())
    first, again = losses_of(model, keyed()), losses_of(model, keyed())
    close(first, expected, rtol=0, atol=0), close(again, expected, rtol=0, atol=0)
    assert seen == [2]


def test_only_what_is_missing_is_run_and_order_does_not_matter(cached, distill, keyed, losses_of):
    model = cached()
    seen = calls_of(model)
    losses_of(model, keyed('ab'))
    close(losses_of(model, keyed('cbad')), losses_of(distill(distiller=I2CKD), keyed('cbad')))
    assert seen == [2, 2]
    close(losses_of(cached(), keyed('db')), losses_of(distill(distiller=I2CKD), keyed('db')))
    assert seen == [2, 2]


def test_the_student_is_trained_the_same(cached, distill, keyed):
    weights = []
    for model in (distill(distiller=I2CKD), cached()):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        torch.manual_seed(0)
        for _ in range(3):
            model.train_step(keyed(), wrapper)
        weights.append(torch.cat([p.detach().flatten() for p in model.student.parameters()]))
    torch.testing.assert_close(*weights)


def test_half_precision_teaches_the_same_from_the_first_time_on(cached, distill, keyed, losses_of):
    model = cached(half=True)
    first, again = losses_of(model, keyed()), losses_of(model, keyed())
    close(again, first, rtol=0, atol=0)
    close(first, losses_of(distill(distiller=I2CKD), keyed()), rtol=5e-3, atol=1e-4)


def test_images_of_another_size_are_other_samples(cached, keyed, losses_of):
    model = cached()
    seen = calls_of(model)
    for size in ((64, 64), (96, 96), (64, 64)):
        losses_of(model, keyed(size=size))
    assert seen == [2, 2]


@pytest.mark.parametrize('what', ['weights', 'half', 'taps', 'precision', 'structure'])
def test_records_of_another_teacher_are_refused(what, cached, distill, segmentor, tmp_path, keyed, losses_of):
    losses_of(cached(), keyed())
    folder = dict(cache_teacher=str(tmp_path / 'cache'))
    if what == 'weights':
        model = cached()
        with torch.no_grad():
            next(iter(model.teacher.model.decode_head.parameters())).add_(1e-3)
    elif what == 'half':
        model = cached(half=True)
    elif what == 'taps':
        model = distill(**folder)
    elif what == 'precision':
        model = distill(distiller=I2CKD, teacher_precision='bf16', **folder)
    else:
        teacher = segmentor(8)
        teacher['decode_head']['dropout_ratio'] = 0.37
        model = distill(distiller=I2CKD, teacher=teacher, **folder)
    with pytest.raises(ValueError, match=rf'cache_teacher: .*another teacher: .*{what}.* Delete the folder'):
        model.check_cache()
    with pytest.raises(ValueError, match='Delete the folder'):
        losses_of(model, keyed())


@pytest.mark.parametrize('change', ['mean', 'bgr_to_rgb', 'preprocessor'])
def test_records_of_other_images_are_refused(change, distill, segmentor, tmp_path, keyed, losses_of):
    """The teacher is the same, and what it sees is not."""
    teacher, options = segmentor(8), dict(distiller=I2CKD, cache_teacher=str(tmp_path / 'cache'))
    teacher['data_preprocessor'].update(mean=[9.0, 9.0, 9.0], std=[50.0, 50.0, 50.0], bgr_to_rgb=True)
    losses_of(distill(teacher=teacher, **options), keyed())
    if change == 'preprocessor':
        options['teacher_preprocessor'] = 'student'
    else:
        teacher['data_preprocessor'][change] = dict(mean=[7.0, 9.0, 9.0], bgr_to_rgb=False)[change]
    with pytest.raises(ValueError, match='another teacher: .*images'):
        distill(teacher=teacher, **options).init_weights()


def test_of_two_that_begin_at_one_time_the_second_is_refused(cached, keyed, losses_of):
    first, second = cached(), cached()
    with torch.no_grad():
        next(iter(second.teacher.model.parameters())).add_(1)
    first.check_cache(), second.check_cache()  # the folder is empty
    losses_of(first, keyed('ab'))
    second.cache.ready = True
    with pytest.raises(ValueError, match='weights differ'):
        second.cache._claim()


def test_other_precisions_of_the_surroundings_are_other_records(cached, keyed, losses_of):
    model = cached()
    seen = calls_of(model)
    with torch.autocast('cpu', torch.bfloat16):
        losses_of(model, keyed())
    losses_of(model, keyed())
    assert seen == [2, 2]


@pytest.mark.parametrize('left', [b'', b'PK\x03\x04 a part of a file'])
def test_a_broken_file_is_written_again(left, cached, distill, keyed, losses_of, tmp_path):
    model = cached()
    seen = calls_of(model)
    expected = losses_of(model, keyed())
    sorted((tmp_path / 'cache').rglob('*.pt'))[0].write_bytes(left)
    for _ in range(2):
        close(losses_of(model, keyed()), expected)
    assert seen == [2, 1]


def test_processes_that_fill_one_folder_leave_each_other_alone(cached, keyed, losses_of, tmp_path):
    model = cached()
    losses_of(model, keyed())
    sample = model.cache._read(sorted((tmp_path / 'cache').rglob('*.pt'))[0])
    path = tmp_path / 'cache' / 'zz' / 'same.pt'
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: model.cache._write(path, sample), range(64)))
    assert model.cache._read(path) is not None
    assert [p.name for p in path.parent.iterdir()] == ['same.pt']


def test_what_half_precision_cannot_hold_is_refused(cached, keyed, losses_of):
    model = cached(half=True)
    place = next(iter(model.teacher.recorder.places))[1]
    module = model.teacher.model.get_submodule(place)

    def large(module, inputs, output):
        return output * 1e9 if torch.is_tensor(output) else tuple(x * 1e9 for x in output)

    module.register_forward_hook(large, prepend=True)
    with pytest.raises(ValueError, match='too large for half precision. Set cache_teacher.half=False'):
        losses_of(model, keyed())


def test_a_folder_of_another_teacher_is_refused_before_training(cached, keyed, losses_of, tmp_path):
    losses_of(cached(), keyed())
    manifest = tmp_path / 'cache' / MANIFEST
    manifest.write_text(manifest.read_text().replace('"weights": "', '"weights": "0'))
    with pytest.raises(ValueError, match='weights differ'):
        cached().init_weights()


def test_samples_without_a_key_are_refused(cached, batch, losses_of):
    with pytest.raises(ValueError, match="model.cache_teacher: .* dataset=dict.type='SeededVariants'"):
        losses_of(cached(), batch())


@pytest.mark.parametrize(
    'given', [3, dict(half=True), dict(folder='x', dtype='half'), dict(folder='x', half=2)]
)
def test_a_mistake_in_the_option_is_named(given, distill):
    with pytest.raises(TypeError, match='model.cache_teacher'):
        distill(cache_teacher=given)


def test_a_record_without_images_is_refused(cached, keyed, losses_of):
    model = cached()
    place = next(iter(model.teacher.recorder.places))[1]
    module = model.teacher.model.get_submodule(place)
    handle = module.register_forward_hook(
        lambda m, i, o: o[:1] if hasattr(o, 'shape') else (o[0][:1],), prepend=True
    )
    with pytest.raises(ValueError, match='has no dimension of images'):
        losses_of(model, keyed())
    handle.remove()


def test_a_training_by_the_tools(tools, tiny_config, tiny_teacher, tiny_scenes, tmp_path, monkeypatch):
    """The second training of the same variants never runs the teacher; check.py keeps nothing."""
    cache = tmp_path / 'cache'
    model = tiny_distillation(tiny_teacher, cache_teacher=str(cache))
    cfg = Config.fromfile(str(tiny_config('cached', model, 8)))
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='SeededVariants', variants=2, dataset=inner)
    path = tmp_path / 'cached.py'
    cfg.dump(str(path))
    check = load_tool('check')
    assert check.main([str(path)]) == 0 and not cache.exists()
    tools.train([str(path), '--work-dir', str(tmp_path / 'first')])
    files = sorted(cache.rglob('*.pt'))
    assert 8 < len(files) <= 16
    monkeypatch.setattr('kd_methods.distill.teacher.FrozenTeacher.run', None)
    tools.train([str(path), '--work-dir', str(tmp_path / 'second')])
    assert sorted(cache.rglob('*.pt')) == files
    states = [
        torch.load(tmp_path / d / 'iter_8_student.pth', weights_only=False) for d in ('first', 'second')
    ]
    first, second = (s.get('state_dict', s) for s in states)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name])
