"""From a config and its checkpoints to pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from kd_methods.networks.config import is_distillation
from kd_methods.visualize import draw, maps, predictions
from kd_methods.visualize.click import click_pixels
from kd_methods.visualize.columns import build_columns, check_teacher, read_students
from kd_methods.visualize.draw import Page
from kd_methods.visualize.images import (
    Picture,
    check_pixels,
    dataset_meta,
    pictures_by_index,
    pictures_of_files,
    test_data,
)
from kd_methods.visualize.maps import Panel, Row
from kd_methods.visualize.predictions import Classes
from kd_methods.visualize.recording import Column, read_taps
from kd_methods.visualize.tap_pairs import Place

FEATURES = 'Each panel has its own scale; colours of components do not compare between networks.'
KINDS = ('boundary', 'relation', 'feature', 'prediction')


def visualize(
    cfg: Config,
    checkpoints: Mapping[str, tuple[str, str]],
    out: Path,
    *,
    indices: Sequence[int] = (0,),
    images: Sequence[str] | None = None,
    what: Sequence[str] = KINDS,
    taps: Sequence[str] | None = None,
    pixels: Sequence[tuple[int, int]] | None = None,
    click: bool = False,
    tau: float = 0.1,
    score: float = 0.5,
    trusted: bool = False,
) -> list[Path]:
    """Draw what the networks of a config see.

    Args:
        cfg (Config): Distillation or plain config.
        checkpoints (Mapping): Heading of a column -> the command-line argument that named the file (for
            messages), and the file: a full checkpoint or a student alone. The config's own student is the
            first.
        out (Path): Folder of the pictures.
        indices (Sequence[int]): Images of the test data set. Defaults to the first.
        images (Sequence[str] | None): Image files instead. Defaults to None.
        what (Sequence[str]): Of ``KINDS``. Defaults to all.
        taps (Sequence[str] | None): Places. Defaults to None: those of the distiller, or the backbone's
            outputs.
        pixels (Sequence[tuple[int, int]] | None): (x, y) of the self-relations. Defaults to None: the image's
            centre.
        click (bool): Let the user click further pixels. Defaults to False.
        tau (float): Temperature of the self-relation. Defaults to 0.1.
        score (float): Least score of a detected object. Defaults to 0.5.
        trusted (bool): Unpickle whatever the checkpoints hold. Defaults to False.

    Returns:
        list[Path]: The files.
    """
    if tau <= 0:
        raise ValueError(f'--tau {tau:g} must be above 0.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    students = read_students(checkpoints, trusted)
    if is_distillation(cfg):
        check_teacher(cfg)
    data = test_data(cfg)
    pictures = pictures_by_index(data, indices) if images is None else pictures_of_files(data, images)
    if 'relation' in what:
        check_pixels(pixels or [], pictures)
    points = (
        {picture.name: _points(picture, pixels, click) for picture in pictures} if 'relation' in what else {}
    )
    columns, places = build_columns(cfg, students, taps)
    classes = Classes(dataset_meta(data))
    files = []
    for picture in pictures:
        for name, page in pages(
            picture, columns, places, classes, what, points.get(picture.name, []), tau, score
        ).items():
            files.append(draw.save(draw.draw(page), Path(out) / f'{picture.name}_{name}.png'))
    return files


def pages(
    picture: Picture,
    columns: Sequence[Column],
    places: Sequence[Place],
    classes: Classes,
    what: Sequence[str] = KINDS,
    points: Sequence[tuple[int, int]] = (),
    tau: float = 0.1,
    score: float = 0.5,
) -> dict[str, Page]:
    """Compute all pages of one image.

    Returns:
        dict[str, Page]: Last part of a file's name -> the page.
    """
    batch = picture.batch()
    sample = batch['data_samples'][0]
    truth = predictions.true_panel(sample, picture.rgb, classes, picture.scaled_truth)
    image = Panel(picture.rgb, picture.size)
    labels = [place.label for place in places]
    read = []
    if set(what) & {'boundary', 'relation', 'feature'}:
        read = [
            read_taps(column, batch, [place.of(column.side) for place in places], picture.size)
            for column in columns
        ]
    titles = [column.title for column in columns]

    known = predictions.true_labels(sample)
    # Beside every row of maps the image with the borders or boxes that they should follow.
    overlay = replace(image, outline=known, boxes=truth.boxes if truth is not None else [])
    lead = {'image' if truth is None else 'image, truth outlined': overlay}

    def page(heading: str, rows: list[Row], **options) -> Page:
        rows = [Row(row.label, [*lead.values(), *row.panels], row.scale) for row in rows]
        return Page(heading, [*lead, *titles], rows, picture.size, classes=classes, **options)

    found: dict[str, Page] = {}
    if 'boundary' in what:
        found['boundary'] = page(
            f'{picture.name}: boundary maps', maps.boundary_rows(labels, read), bar='distance to neighbours'
        )
    if 'relation' in what:
        for x, y in points:
            found[f'relation_{x}_{y}'] = page(
                f'{picture.name}: self-relation of pixel ({x}, {y}), tau {tau:g}',
                maps.relation_rows(labels, read, (x, y), tau),
                bar='times the mean',
                marker=(x, y),
                colours='viridis',
            )
    if 'feature' in what:
        found['feature'] = page(
            f'{picture.name}: feature maps. {FEATURES}', maps.feature_rows(labels, read), colours='viridis'
        )
    if 'prediction' in what:
        panels = [
            predictions.predicted_panel(
                predictions.predict(column, batch), picture.rgb, classes, known, score
            )
            for column in columns
        ]
        lead = {'image': image, **({} if truth is None else {'truth': truth})}
        found['prediction'] = page(f'{picture.name}: predictions', [Row('', panels)])
        present = [panel for panel in [truth, *panels] if panel is not None]
        found['prediction'].legend = sorted({label for panel in present for label in panel.labels})
    return found


def _points(picture: Picture, pixels: Sequence[tuple[int, int]] | None, click: bool) -> list[tuple[int, int]]:
    points = [tuple(pixel) for pixel in pixels or []]
    if click:
        points += click_pixels(picture.rgb, picture.name)
    height, width = picture.size
    return list(dict.fromkeys(points)) or [(width // 2, height // 2)]
