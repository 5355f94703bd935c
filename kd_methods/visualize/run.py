"""From a config and its checkpoints to pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from kd_methods.networks.config import is_distillation
from kd_methods.visualize import draw, images, maps, predictions
from kd_methods.visualize.click import click_pixels
from kd_methods.visualize.columns import build_columns, check_teacher, read_students
from kd_methods.visualize.draw import Sheet
from kd_methods.visualize.images import Picture
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import Classes
from kd_methods.visualize.recording import Column, read_taps
from kd_methods.visualize.tap_pairs import Place

FEATURES = 'Each panel has its own scale; colours of components do not compare between networks.'
KINDS = ('boundary', 'relation', 'feature', 'prediction')


@dataclass(frozen=True)
class Options:
    """What is drawn.

    Attributes:
        what (Sequence[str]): Of ``KINDS``. Defaults to all.
        taps (Sequence[str] | None): Places. Defaults to None: the distiller's, or the backbone's outputs.
        pixels (Sequence[tuple[int, int]]): (x, y) of the self-relations. Defaults to the image's centre.
        click (bool): Let the user click further pixels. Defaults to False.
        tau (float): Temperature of the self-relation. Defaults to 0.1.
        score (float): Least score of a detected object. Defaults to 0.5.
    """

    what: Sequence[str] = KINDS
    taps: Sequence[str] | None = None
    pixels: Sequence[tuple[int, int]] = ()
    click: bool = False
    tau: float = 0.1
    score: float = 0.5


def visualize(
    cfg: Config,
    checkpoints: Mapping[str, tuple[str, str]],
    out: Path,
    options: Options | None = None,
    indices: Sequence[int] = (0,),
    files: Sequence[str] | None = None,
    trusted: bool = False,
) -> list[Path]:
    """Draw what the networks of a config see.

    Args:
        cfg (Config): Distillation or plain config.
        checkpoints (Mapping): Heading of a column -> the option that named the file (for messages), and the
            file: a full checkpoint or a student alone. The config's own student is the first.
        out (Path): Folder of the pictures.
        options (Options, optional): What is drawn. Defaults to all, at the usual places.
        indices (Sequence[int]): Images of the test data set. Defaults to the first.
        files (Sequence[str] | None): Image files instead. Defaults to None.
        trusted (bool): Unpickle any object that the checkpoints hold. Defaults to False.

    Returns:
        list[Path]: The files.
    """
    options = options or Options()
    if options.tau <= 0:
        raise ValueError(f'--tau {options.tau:g} must be above 0.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    students = read_students(checkpoints, trusted)
    if is_distillation(cfg):
        check_teacher(cfg)
    data = images.test_data(cfg)
    if files is None:
        pictures = images.pictures_by_index(data, indices)
    else:
        pictures = images.pictures_of_files(data, files)
    points = {}
    if 'relation' in options.what:
        images.check_pixels(options.pixels, pictures)
        points = {picture.name: _points(picture, options) for picture in pictures}
    columns, places = build_columns(cfg, students, options.taps)
    classes = Classes(images.dataset_meta(data))
    found = []
    for picture in pictures:
        sheets = compute_sheets(picture, columns, places, classes, options, points.get(picture.name, ()))
        for name, sheet in sheets.items():
            found.append(draw.save(draw.draw(sheet), Path(out) / f'{picture.name}_{name}.png'))
    return found


def compute_sheets(
    picture: Picture,
    columns: Sequence[Column],
    places: Sequence[Place],
    classes: Classes,
    options: Options,
    points: Sequence[tuple[int, int]] = (),
) -> dict[str, Sheet]:
    """Compute all sheets of one image: last part of a file's name -> the sheet."""
    batch, what = picture.batch(), options.what
    sample = batch['data_samples'][0]
    truth = predictions.true_panel(sample, picture.rgb, classes, picture.scaled_truth)
    known = predictions.true_labels(sample)
    image = Panel(picture.rgb, picture.size)
    found: dict[str, Sheet] = {}

    def sheet(heading: str, lead: Mapping[str, Panel], rows: list[Row], **style) -> Sheet:
        rows = [Row(row.label, [*lead.values(), *row.panels], row.scale) for row in rows]
        titles = [*lead, *(column.title for column in columns)]
        return Sheet(f'{picture.name}: {heading}', titles, rows, picture.size, classes=classes, **style)

    if set(what) & {'boundary', 'relation', 'feature'}:
        labels = [place.label for place in places]
        read = [read_taps(c, batch, [place.of(c.side) for place in places], picture.size) for c in columns]
        # before every row of maps the image, with the borders or boxes that they should follow
        lead = {'image': image}
        if truth is not None:
            lead = {'image, truth outlined': replace(image, outline=known, boxes=truth.boxes)}
    if 'boundary' in what:
        rows = maps.boundary_rows(labels, read)
        found['boundary'] = sheet('boundary maps', lead, rows, bar='distance to neighbours')
    if 'relation' in what:
        for x, y in points:
            heading = f'self-relation of pixel ({x}, {y}), tau {options.tau:g}'
            rows = maps.relation_rows(labels, read, (x, y), options.tau)
            style = dict(bar='times the mean', marker=(x, y), colours='viridis')
            found[f'relation_{x}_{y}'] = sheet(heading, lead, rows, **style)
    if 'feature' in what:
        rows = maps.feature_rows(labels, read)
        found['feature'] = sheet(f'feature maps. {FEATURES}', lead, rows, colours='viridis')
    if 'prediction' in what:
        lead = {'image': image} if truth is None else {'image': image, 'truth': truth}
        predicted = [predictions.predict(column, batch) for column in columns]
        show = predictions.predicted_panel
        panels = [show(sample, picture.rgb, classes, known, options.score) for sample in predicted]
        legend = sorted({label for panel in [*lead.values(), *panels] for label in panel.labels})
        found['prediction'] = sheet('predictions', lead, [Row('', panels)], legend=legend)
    return found


def _points(picture: Picture, options: Options) -> list[tuple[int, int]]:
    points = [tuple(pixel) for pixel in options.pixels]
    if options.click:
        points += click_pixels(picture.rgb, picture.name)
    height, width = picture.size
    return list(dict.fromkeys(points)) or [(width // 2, height // 2)]
