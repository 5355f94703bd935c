"""tools/export.py: a checkpoint's student alone, with its plain config."""

import pickle

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from toys import load_tool

from kd_methods.export.student import export_student
from kd_methods.utils.files import write_file


@pytest.fixture(scope='module')
def export():
    """The tool's `main`."""
    return load_tool('export').main


def test_plain_run(export, tiny_teacher, tmp_path, capsys):
    """Weights without optimizer, the config beside them, both named in the output."""
    out = tmp_path / 'sub' / 'student.pth'
    export([str(tiny_teacher.config), str(tiny_teacher.checkpoint), '--out', str(out), '--no-verify'])
    printed = capsys.readouterr().out
    assert str(out) in printed and 'student.py' in printed
    file = torch.load(out, weights_only=True)
    full = torch.load(tiny_teacher.checkpoint, weights_only=False)
    assert file['state_dict'].keys() == full['state_dict'].keys()
    assert all(torch.equal(v, full['state_dict'][k]) for k, v in file['state_dict'].items())
    assert file['state_dict']._metadata == full['state_dict']._metadata
    assert file['meta']['dataset_meta']['classes'][:2] == ['background', '0']
    cfg = Config.fromfile(str(tmp_path / 'sub' / 'student.py'))
    assert cfg.model.type == 'EncoderDecoder' and 'kd_methods' not in cfg.pretty_text
    # what was exported can be exported
    again = tmp_path / 'again.pth'
    export([str(tmp_path / 'sub' / 'student.py'), str(out), '--out', str(again), '--no-verify'])
    assert torch.load(again, weights_only=True)['state_dict'].keys() == full['state_dict'].keys()


def test_distillation_checkpoint(tiny_teacher, tiny_config, tmp_path):
    """Only the student's weights are taken; classes come from the config where a file has none."""
    weights = torch.load(tiny_teacher.checkpoint, weights_only=False)['state_dict']
    state = {f'architecture.{k}': v for k, v in weights.items()}
    state['distiller.connectors.adapter.weight'] = torch.zeros(1)
    model = dict(
        type='FrozenTeacherDistill',
        architecture=dict(cfg_path=str(tiny_teacher.config)),
        teacher=dict(cfg_path=str(tiny_teacher.config)),
        distiller=dict(type='mmrazor.ConfigurableDistiller'),
    )
    config = tiny_config('export_distill', model)
    out, config_out = export_student(
        config, dict(state_dict=state), tmp_path / 's.pth', tmp_path / 'c.py', verify=False
    )
    file = torch.load(out, weights_only=True)
    assert file['state_dict'].keys() == weights.keys()
    assert len(file['meta']['dataset_meta']['classes']) == 11
    assert Config.fromfile(config_out).model.decode_head.type == 'PSPHead'


def test_the_scope_of_the_process_does_not_matter(tiny_teacher, tmp_path):
    """A segmentor is exported in a process that built a detector before."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        out, _ = export_student(
            tiny_teacher.config, tiny_teacher.checkpoint, tmp_path / 's.pth', verify=False
        )
    assert torch.load(out, weights_only=True)['state_dict']


def test_wrong_config(tiny_teacher, tiny_config, tmp_path):
    """Weights of another network are refused and nothing is written."""
    model = Config.fromfile(str(tiny_teacher.config)).model.to_dict()
    model['decode_head']['channels'] = 24
    with pytest.raises(ValueError, match='student.*do not fit EncoderDecoder'):
        export_student(tiny_config('export_wrong', model), tiny_teacher.checkpoint, tmp_path / 'x.pth')
    assert list(tmp_path.iterdir()) == []


def test_code_in_a_checkpoint_is_not_run(export, tiny_teacher, tmp_path):
    """A file with other objects is refused, unless it is said to be trusted."""
    path = tmp_path / 'odd.pth'
    state = torch.load(tiny_teacher.checkpoint, weights_only=False)['state_dict']
    torch.save(dict(state_dict=state, extra=pickle.Pickler), path)
    args = [str(tiny_teacher.config), str(path), '--out', str(tmp_path / 'o.pth')]
    with pytest.raises(ValueError, match='could run code'):
        export(args)
    export([*args, '--trusted', '--no-verify'])
    assert torch.load(tmp_path / 'o.pth', weights_only=True)['state_dict'].keys() == state.keys()


def test_write_file_keeps_the_old_one(tmp_path, monkeypatch):
    """A write that fails leaves the file as it was and no temporary file."""
    path = tmp_path / 'f.pth'
    write_file(b'old', path)

    def fail(*args):
        raise OSError('disk')

    monkeypatch.setattr('os.replace', fail)
    with pytest.raises(OSError, match='disk'):
        write_file(b'new', path)
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_storage_of_a_view(tiny_teacher, tmp_path):
    """A weight that is a part of a larger tensor takes only its own size."""
    from kd_methods.export.student import student_checkpoint, to_bytes

    big = torch.zeros(1_000_000)
    assert len(to_bytes(student_checkpoint(dict(state_dict=dict(w=big[:10]))))) < 10_000


def test_an_export_that_others_cannot_load_is_an_error(
    export, tiny_teacher, tiny_config, tmp_path, monkeypatch
):
    """The files are there; the message says what another process lacks."""
    (tmp_path / 'only_here_module.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    imports = dict(imports=['only_here_module'], allow_failed_imports=False)
    config, out = tiny_config('export_imports', custom_imports=imports), tmp_path / 'student.pth'
    with pytest.raises(ValueError, match='were written, but cannot be loaded .*only_here_module'):
        export([str(config), str(tiny_teacher.checkpoint), '--out', str(out)])
    assert out.is_file() and out.with_suffix('.py').is_file()


def test_averaged_weights_are_exported_and_told(export, tiny_teacher, tmp_path, caplog):
    state = torch.load(tiny_teacher.checkpoint, weights_only=False)['state_dict']
    torch.save(dict(model=state, model_ema={k: v * 0 for k, v in state.items()}), tmp_path / 'two.pth')
    out = tmp_path / 'student.pth'
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        export([str(tiny_teacher.config), str(tmp_path / 'two.pth'), '--out', str(out), '--no-verify'])
    finally:
        logger.removeHandler(caplog.handler)
    assert "'model_ema' is taken, the averaged weights, not 'model'" in caplog.text
    file = torch.load(out, weights_only=True)['state_dict']
    assert not any(v.any() for v in file.values()) and not hasattr(file, 'choice')
