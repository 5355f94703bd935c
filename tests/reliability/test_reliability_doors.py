"""No file that a tool or a config key reads can run code, and no weights are lost on the way silently."""

import http.server
import pickle
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from toys import load_tool, tiny_model

FORMS = ['zip', 'legacy', 'getattr']


class Payload:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, marker: Path, form: str) -> None:
        self.marker, self.form = marker, form

    def __reduce__(self):
        if self.form == 'getattr':  # by way of a function that checkpoints of mmengine need
            return getattr, (Path(self.marker), 'touch')
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / 'code_ran'


@pytest.fixture
def evil(marker, tmp_path, tiny_teacher):
    """`evil(form, name='evil.pth')` -> a full checkpoint that carries code."""

    def make(form: str, name: str = 'evil.pth') -> Path:
        content = torch.load(tiny_teacher.checkpoint, weights_only=False)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == 'text':
            content['meta']['config'] = f'from pathlib import Path\nPath({str(marker)!r}).touch()\n'
            torch.save(content, path)
            return path
        content['extra'] = Payload(marker, form)
        torch.save(content, path, _use_new_zipfile_serialization=form != 'legacy')
        return path

    return make


def test_the_payload_runs_where_it_is_let(marker, evil):
    """Else the tests below would prove nothing."""
    torch.load(evil('zip'), weights_only=False)
    assert marker.exists()


def resume_file(tools, cfg, file, work_dir):
    tools.train([str(cfg), '--work-dir', str(work_dir), '--resume', str(file)])


def resume_auto(tools, cfg, file, work_dir):
    work_dir.mkdir()
    (work_dir / 'iter_4.pth').write_bytes(file.read_bytes())
    (work_dir / cfg.name).write_text('')
    tools.train([str(cfg), '--work-dir', str(work_dir), '--resume'])


def option(*options):
    def train(tools, cfg, file, work_dir):
        given = [o.format(file=file) for o in options]
        tools.train([str(cfg), '--work-dir', str(work_dir), '--cfg-options', *given])

    return train


def test_tool(tools, cfg, file, work_dir):
    tools.test([str(cfg), str(file), '--work-dir', str(work_dir)])


def export(tools, cfg, file, work_dir):
    load_tool('export').main([str(cfg), str(file), '--out', str(work_dir / 'student.pth'), '--no-verify'])


test_tool.__test__ = False
PRETRAINED = 'init_cfg.type=Pretrained'
DOORS = {
    '--resume FILE': resume_file,
    '--resume': resume_auto,
    'resume and load_from': option('resume=True', 'load_from={file}'),
    'load_from': option('load_from={file}'),
    'teacher_ckpt': option('model.teacher_ckpt={file}'),
    'teacher.init_cfg': option(
        'model.teacher_ckpt=None', f'model.teacher.{PRETRAINED}', 'model.teacher.init_cfg.checkpoint={file}'
    ),
    'architecture.init_cfg': option(
        f'model.architecture.{PRETRAINED}', 'model.architecture.init_cfg.checkpoint={file}'
    ),
    'backbone.init_cfg': option(
        f'model.architecture.backbone.{PRETRAINED}', 'model.architecture.backbone.init_cfg.checkpoint={file}'
    ),
    'tools/test.py': test_tool,
    'tools/export.py': export,
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('door', DOORS)
def test_no_door_runs_code(door, form, tools, tiny_distill_cfg, evil, marker, tmp_path):
    with pytest.raises(ValueError, match='Python objects that could run code'):
        DOORS[door](tools, tiny_distill_cfg, evil(form), tmp_path / 'work')
    assert not marker.exists()


def test_a_config_in_a_checkpoint_is_never_executed(tools, tiny_teacher, evil, marker, tmp_path):
    runner = tools.train(
        [str(tiny_teacher.config), '--work-dir', str(tmp_path / 'work'), '--resume', str(evil('text'))]
        + ['--cfg-options', 'train_cfg.max_iters=5']
    )
    assert runner.iter == 5 and not marker.exists()


@pytest.mark.parametrize('form', FORMS)
def test_addresses_are_doors_too(form, tools, tiny_distill_cfg, evil, marker, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    evil(form, 'www/evil.pth')
    handler = partial(QuietHandler, directory=str(tmp_path / 'www'))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}/evil.pth'
    try:
        for door in ('load_from', 'teacher_ckpt', 'backbone.init_cfg'):
            with pytest.raises(ValueError, match='Python objects that could run code'):
                DOORS[door](tools, tiny_distill_cfg, address, tmp_path / 'work')
    finally:
        server.shutdown()
    assert not marker.exists()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


def test_a_file_that_inflates_beyond_measure_is_refused_before_it_is_read(tmp_path):
    import zipfile

    from kd_methods.compat.checkpoint_files import DamagedFile, read_checkpoint

    path = tmp_path / 'bomb.pth'
    torch.save(dict(state_dict=dict(w=torch.zeros(1))), path)
    with zipfile.ZipFile(path, 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data/1', bytes(2**29))
    assert path.stat().st_size < 2**24
    with pytest.raises(DamagedFile, match='would unpack to'):
        read_checkpoint(path)


# ---- weights that are named arrive, or the run stops -------------------------------------------------


def initial(tools, cfg, work_dir, *options) -> dict:
    """State of the student right after the weights were loaded."""
    out = {}
    from kd_methods.engine.runner import WholeRunner

    original = WholeRunner.load_or_resume

    def keep(self):
        original(self)
        out.update({k: v.clone() for k, v in self.model.state_dict().items()})

    WholeRunner.load_or_resume = keep
    try:
        tools.train(
            [str(cfg), '--work-dir', str(work_dir), '--cfg-options', 'train_cfg.max_iters=1', *options]
        )
    finally:
        WholeRunner.load_or_resume = original
    return out


def equal(found: dict, weights: dict, prefix: str = 'architecture.') -> bool:
    return all(torch.equal(found[prefix + k], v) for k, v in weights.items() if 'num_batches' not in k)


def weights_of(file) -> dict:
    return torch.load(file, weights_only=False)['state_dict']


@pytest.mark.parametrize('which', ['student', 'checkpoint', 'plain', 'wrapped'])
def test_load_from_starts_the_student(which, tools, tiny_distilled, tiny_distill_cfg, tmp_path):
    student = weights_of(tiny_distilled.student)
    files = dict(student=tiny_distilled.student, checkpoint=tiny_distilled.checkpoint)
    for name, prefix in (('plain', ''), ('wrapped', 'model.')):
        files[name] = tmp_path / f'{name}.pth'
        torch.save({prefix + k: v for k, v in student.items()}, files[name])
    found = initial(tools, tiny_distill_cfg, tmp_path / 'work', f'load_from={files[which]}')
    assert equal(found, student)


def test_load_from_of_a_full_checkpoint_loads_the_adapters_too(
    tools, tiny_distilled, tiny_distill_cfg, tmp_path
):
    found = initial(tools, tiny_distill_cfg, tmp_path / 'work', f'load_from={tiny_distilled.checkpoint}')
    full = weights_of(tiny_distilled.checkpoint)
    adapters = {k: v for k, v in full.items() if k.startswith('distiller.')}
    assert adapters and equal(found, adapters, prefix='')


@pytest.mark.parametrize(
    'options',
    [
        ['load_from={file}'],
        ['model.teacher_ckpt={file}'],
        [
            'model.teacher_ckpt=None',
            f'model.teacher.{PRETRAINED}',
            'model.teacher.init_cfg.checkpoint={file}',
        ],
        [f'model.architecture.{PRETRAINED}', 'model.architecture.init_cfg.checkpoint={file}'],
        [
            f'model.architecture.backbone.{PRETRAINED}',
            'model.architecture.backbone.init_cfg.checkpoint={file}',
        ],
    ],
    ids=lambda options: options[-1].split('=')[0],
)
def test_a_file_of_another_network_stops_the_run(options, tools, tiny_distill_cfg, tmp_path):
    file = tmp_path / 'other.pth'
    torch.save(dict(state_dict=torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()), file)
    with pytest.raises(ValueError, match='other.pth'):
        initial(tools, tiny_distill_cfg, tmp_path / 'work', *(o.format(file=file) for o in options))


@pytest.mark.parametrize('key', ['load_from', 'architecture.init_cfg'])
def test_other_classes_are_named(key, tools, tiny_distilled, tiny_distill_cfg, tmp_path):
    weights = weights_of(tiny_distilled.student)
    weights['decode_head.conv_seg.weight'] = weights['decode_head.conv_seg.weight'].repeat(2, 1, 1, 1)[:19]
    weights['decode_head.conv_seg.bias'] = weights['decode_head.conv_seg.bias'].repeat(2)[:19]
    file = tmp_path / 'classes19.pth'
    torch.save(dict(state_dict=weights), file)
    init = [f'model.architecture.{PRETRAINED}', f'model.architecture.init_cfg.checkpoint={file}']
    options = [f'load_from={file}'] if key == 'load_from' else init
    with pytest.raises(ValueError, match='19 classes'):
        initial(tools, tiny_distill_cfg, tmp_path / 'work', *options)
    if key == 'load_from':
        found = initial(tools, tiny_distill_cfg, tmp_path / 'part', *options, 'load_from_partial=True')
        rest = {k: v for k, v in weights.items() if not k.startswith('decode_head.conv_seg')}
        assert equal(found, rest)


def test_a_backbone_of_imagenet_is_possible_and_counted(tools, tiny_distilled, tiny_distill_cfg, tmp_path):
    backbone = {
        k.removeprefix('backbone.'): v + 1
        for k, v in weights_of(tiny_distilled.student).items()
        if k.startswith('backbone.')
    }
    for prefix in ('', 'backbone.'):
        file = tmp_path / f'imagenet_{len(prefix)}.pth'
        state = {**{prefix + k: v for k, v in backbone.items()}, 'head.fc.weight': torch.zeros(1000, 32)}
        torch.save(dict(state_dict=state), file)
        init = f'model.architecture.backbone.{PRETRAINED}'
        work_dir = tmp_path / f'work_{len(prefix)}'
        found = initial(
            tools, tiny_distill_cfg, work_dir, init, f'model.architecture.backbone.init_cfg.checkpoint={file}'
        )
        assert equal(found, backbone, 'architecture.backbone.')
        log = next(work_dir.glob('*/*.log')).read_text()
        assert f'starts from {file}' in log and 'tensors matched' in log


def test_a_trusted_file_is_a_choice_of_its_key(tools, tiny_distill_cfg, evil, marker, tmp_path):
    file = evil('zip')
    with pytest.raises(ValueError, match='do not fit'):  # it is the teacher's, read in full by now
        option(f'load_from={file}', 'load_from_trusted=True')(
            tools, tiny_distill_cfg, file, tmp_path / 'work'
        )
    assert marker.exists()


def test_pickle_is_what_the_test_means():
    assert pickle.loads(pickle.dumps(Payload(Path('/nonexistent/x'), 'getattr').__reduce__()[0])) is getattr


def test_configs_are_python(tmp_path):
    """The README says so: a config runs."""
    path = tmp_path / 'config.py'
    path.write_text(f'from pathlib import Path\nPath({str(tmp_path / "ran")!r}).touch()\n')
    Config.fromfile(path)
    assert (tmp_path / 'ran').exists() and tiny_model()
