"""From a config and checkpoints to the networks that are drawn, loaded and in eval mode."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from kd_methods.distill.algorithm import FrozenTeacherDistill
from kd_methods.distill.preprocess import PairedPreprocessor
from kd_methods.export.student_config import student_config
from kd_methods.networks.checkpoint import (
    extract_state_dict,
    load_strict,
    log_choice,
    safe_load,
    student_state_dict,
)
from kd_methods.networks.config import (
    build_network,
    clear_pretrained,
    is_distillation,
    reads_weights,
    resolve_model_cfg,
)
from kd_methods.networks.probe import dry_run_sizes, probe_networks
from kd_methods.visualize.recording import Column
from kd_methods.visualize.tap_pairs import Place, backbone_places, distiller_places, named_places

Students = Mapping[str, tuple[str, dict]]  # heading -> checkpoint, and the student's weights in it


def read_students(checkpoints: Mapping[str, tuple[str, str]], trusted: bool = False) -> Students:
    """Read the checkpoints (heading -> option that named the file, file) before anything is built."""
    advice = 'Correct the path, or train that network first. Objects other than weights need --trusted.'
    found = {}
    for title, (option, path) in checkpoints.items():
        state = extract_state_dict(safe_load(path, trusted, option, advice))
        log_choice(state, path)
        found[title] = (path, student_state_dict(state))
    return found


def build_columns(
    cfg: Config, students: Students, taps: Sequence[str] | None = None
) -> tuple[list[Column], list[Place]]:
    """Build the networks of a config, the teacher first, load them, and find the places that are drawn.

    Without ``taps`` these are the places of the distiller, or the backbone's outputs.
    """
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)  # mmengine's Runner does so
    plain = resolve_model_cfg(student_config(cfg).model, 'model')
    clear_pretrained(plain)  # a checkpoint follows
    networks = {title: build_network(plain, 'model') for title in students}
    for title, (path, weights) in students.items():
        load_strict(networks[title], weights, f'network of column {title!r}', path)
    columns = [Column(title, network, network.data_preprocessor) for title, network in networks.items()]
    if is_distillation(cfg):
        columns, places = _beside_teacher(cfg, columns, taps)
    else:
        network = columns[0].network
        (probe,) = probe_networks(dict(network=network), dry_run_sizes(network))
        places = named_places(taps, probe, None) if taps else backbone_places(probe)
    for column in columns:
        column.network.to(get_device()).eval()
        column.preprocessor.to(get_device())
    return columns, places


def check_teacher(cfg: Config) -> None:
    """Raise unless a distillation config's teacher gets weights from somewhere, before anything is built."""
    if MODELS.get(cfg.model.type) is not FrozenTeacherDistill:
        cure = "'FrozenTeacherDistill' takes its arguments: --cfg-options model.type=FrozenTeacherDistill"
        raise ValueError(f'model.type: {cfg.model.type!r} is not drawn here. {cure}')
    path = cfg.model.get('teacher_ckpt')
    cure = 'Name the file with --teacher-ckpt, or draw the student alone with WORK_DIR/student_config.py.'
    if path is None:
        teacher = cfg.model.get('teacher')
        own = resolve_model_cfg(teacher, 'model.teacher') if isinstance(teacher, Mapping) else None
        if own is not None and not reads_weights(own.get('init_cfg')):
            lack = 'model.teacher_ckpt is not set, so the teacher would be drawn with random weights'
            raise ValueError(f'{lack}. {cure}')
    elif '://' not in str(path) and not Path(path).expanduser().is_file():
        raise FileNotFoundError(f'model.teacher_ckpt: no file {str(path)!r}. {cure}')


def _beside_teacher(
    cfg: Config, students: list[Column], taps: Sequence[str] | None
) -> tuple[list[Column], list[Place]]:
    """The teacher's column in front of the students', and the places of both.

    The whole algorithm is built: it knows what each distiller reads and how each network's input is made.
    """
    model_cfg = cfg.model.copy()
    model_cfg.architecture = resolve_model_cfg(cfg.model.architecture, 'model.architecture')
    clear_pretrained(model_cfg.architecture)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='model.teacher_ckpt is not set|The teacher runs in mode')
        model = MODELS.build(model_cfg)
    teacher: BaseModel = model.teacher.model
    if not model.teacher_ckpt:
        teacher.init_weights()  # a package's published checkpoint
    shared = model.data_preprocessor
    paired = isinstance(shared, PairedPreprocessor)
    own, others = (shared.student, shared.teacher) if paired else (shared, shared)
    layout = shared.layout if paired else None
    for column in students:
        column.preprocessor, column.layout = own, layout
    named = named_places(taps, *model.probes) if taps else distiller_places(model)
    places = named or backbone_places(*model.probes)
    return [Column('teacher', teacher, others, 'teacher', layout), *students], places
