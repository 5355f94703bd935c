"""How users get data sets wrong: each mistake is named with its file and its cure, by the whole check and
before a run.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_segmentation import CLASSES, LOAD, config, data_set, label_map, put, write_split

# Of Cityscapes: road, sidewalk, building, car, bicycle and unlabelled, as ids, train ids and colours.
IDS = np.tile(np.array([7, 8, 11, 26, 33, 0], np.uint8), (8, 2))
TRAIN_IDS = np.tile(np.array([0, 1, 2, 13, 18, 255], np.uint8), (8, 2))
COLOURS = np.stack([IDS, IDS, IDS], 2)


def cityscapes(root: Path, labels: dict[str, np.ndarray], **keys):
    """A config of Cityscapes with one city of six images; ``labels`` are the files of annotations by their
    endings.
    """
    picture = np.zeros((8, 12, 3), np.uint8)
    for split in ('train', 'val'):
        for i in range(6):
            name = f'{split}/a/a_000000_{i:06d}'
            put(root / f'leftImg8bit/{name}_leftImg8bit.png', picture)
            for ending, values in labels.items():
                put(root / f'gtFine/{name}_gtFine_{ending}', values)
            (root / f'gtFine/{name}_gtFine_polygons.json').write_text('{}')

    def of(split: str) -> dict:
        return dict(
            type='CityscapesDataset',
            data_root=str(root),
            pipeline=LOAD,
            **keys,
            data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'),
        )

    return config(of('train'), of('val'), classes=19)


def voc_without_aug_list(root):
    for folder in ('JPEGImages', 'SegmentationClass', 'SegmentationClassAug', 'ImageSets/Segmentation'):
        (root / 'VOC2012' / folder).mkdir(parents=True)
    (root / 'VOC2012/ImageSets/Segmentation/train.txt').write_text('x\n')
    of = {
        name: dict(
            type='PascalVOCDataset',
            data_root=str(root / 'VOC2012'),
            ann_file=f'ImageSets/Segmentation/{name}.txt',
            data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
            pipeline=LOAD,
        )
        for name in ('train', 'aug')
    }
    put(root / 'VOC2012/JPEGImages/x.jpg', np.zeros((8, 8, 3), np.uint8))
    put(root / 'VOC2012/SegmentationClass/x.png', np.zeros((8, 8), np.uint8))
    return config(dict(type='ConcatDataset', datasets=[of['train'], of['aug']]), classes=21)


def ids_under_the_name_of_train_ids(root):
    return cityscapes(root, {'labelTrainIds.png': IDS})


def suffix_of_ids(root):
    return cityscapes(
        root, {'labelTrainIds.png': TRAIN_IDS, 'labelIds.png': IDS}, seg_map_suffix='_gtFine_labelIds.png'
    )


def no_train_ids_yet(root):
    return cityscapes(root, {'labelIds.png': IDS})


def binary_masks(root):
    write_split(root, 'train', 6)
    for path in (root / 'train/labels').iterdir():
        put(path, 255 * (label_map() == 1).astype(np.uint8))
    return config(data_set(root, 'train', metainfo=dict(classes=('background', 'crack'))), classes=2)


def binary_masks_of_three_classes(root):
    return config(binary_masks(root).train_dataloader.dataset | dict(metainfo=dict(classes=CLASSES)))


def binary_masks_with_reduced_zero(root):
    cfg = binary_masks(root)
    cfg.train_dataloader.dataset.reduce_zero_label = True
    return cfg


def unlabelled_is_not_reduced(root):
    write_split(root, 'train', 6, high=151)
    return config(data_set(root, 'train', 'ADE20KDataset', reduce_zero_label=False), classes=150)


def two_answers_about_zero(root):
    write_split(root, 'train', 6)
    pipeline = [LOAD[0], dict(type='LoadAnnotations', reduce_zero_label=True), LOAD[2]]
    return config(data_set(root, 'train', pipeline=pipeline))


def colours(root):
    write_split(root, 'train', 6)
    for path in (root / 'train/labels').iterdir():
        put(path, np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[np.array(Image.open(path)) % 3])
    return config(data_set(root, 'train'))


def colours_of_cityscapes(root):
    return cityscapes(
        root, {'labelTrainIds.png': TRAIN_IDS, 'color.png': COLOURS}, seg_map_suffix='_gtFine_color.png'
    )


def numbers_of_instances(root):
    write_split(root, 'train', 6)
    for path in (root / 'train/labels').iterdir():
        put(path, label_map().astype(np.uint16) * 100)
    return config(data_set(root, 'train'))


def jpg_images_for_png(root):
    write_split(root, 'train', 6, images='.jpg')
    return config(data_set(root, 'train'))


def jpg_images_of_a_list(root):
    write_split(root, 'train', 6, images='.jpg')
    (root / 'train.txt').write_text(''.join(f'{i:03d}\n' for i in range(6)))
    return config(data_set(root, 'train', ann_file='train.txt'))


def empty_list(root):
    write_split(root, 'train', 1)
    (root / 'train.txt').write_text('')
    return config(data_set(root, 'train', ann_file='train.txt'))


def jpg_labels(root):
    write_split(root, 'train', 6, labels='.jpg')
    return config(data_set(root, 'train'))


def jpg_labels_that_are_read(root):
    write_split(root, 'train', 6)
    for path in list((root / 'train/labels').iterdir()):
        put(path.with_suffix('.jpg'), label_map())
    return config(data_set(root, 'train', seg_map_suffix='.jpg'))


def too_few_classes_in_the_head(root):
    write_split(root, 'train', 6)
    return config(data_set(root, 'train'), classes=2)


def too_many_classes_in_the_head(root):
    write_split(root, 'train', 6)
    return config(data_set(root, 'train'), classes=19)


def labels_beyond_the_classes(root):
    write_split(root, 'train', 6, high=7)
    return config(data_set(root, 'train'))


def background_is_a_class(root):
    write_split(root, 'train', 6, high=4)
    return config(data_set(root, 'train'))


def some_images_without_labels(root):
    write_split(root, 'train', 6)
    for i in (1, 4):
        (root / f'train/labels/{i:03d}.png').unlink()
    return config(data_set(root, 'train'))


def labels_of_another_name(root):
    write_split(root, 'train', 6, labels='_mask.png')
    return config(data_set(root, 'train'))


def sizes_of_two_kinds(root):
    write_split(root, 'train', 6)
    for path in (root / 'train/labels').iterdir():
        put(path, label_map(size=(8, 12)))
    return config(data_set(root, 'train'))


def cut_files(root):
    write_split(root, 'train', 6)
    for path in (root / 'train').rglob('*.png'):
        path.write_bytes(path.read_bytes()[:-20])
    return config(data_set(root, 'train'))


# (what is wrong, what the quick look before a run does about it, what is said of it)
MISTAKES = [
    # a missing split file
    (
        voc_without_aug_list,
        'refused',
        r"datasets.1: PascalVOCDataset finds no '.*aug.txt'.*python tools/data/voc_aug.py \S+ SBD",
    ),
    (empty_list, 'refused', r"BaseSegDataset has no image: the list '.*train.txt' is empty"),
    # labels 0 to 255, ids, colours instead of classes
    (
        ids_under_the_name_of_train_ids,
        'refused',
        r'labelTrainIds.png \(26, 33\).*Expected: 0 to 18, and 255 .*These are ids, under the name of train '
        r'ids. '
        r'python tools/data/cityscapes.py \S+ --overwrite writes them anew',
    ),
    (
        suffix_of_ids,
        'refused',
        r'labelIds.png \(26, 33\).*These are ids, not train ids. Set --cfg-options '
        r'train_dataloader.dataset.seg_map_suffix=_gtFine_labelTrainIds.png; python tools/data/cityscapes.py '
        r'\S+ writes them',
    ),
    (
        no_train_ids_yet,
        'refused',
        r"all 6 images without a label file: \S+leftImg8bit.png.*No '\S+_gtFine_labelTrainIds.png'.*"
        r'\*_polygons.json is there: python tools/data/cityscapes.py \S+ makes labels',
    ),
    (
        binary_masks,
        'warned',
        'label files hold 0 and 255 alone, .* only the first of the 2 classes.*`mask // 255`',
    ),
    (binary_masks_of_three_classes, 'warned', '0 and 255 alone.*`mask // 255`'),
    (
        binary_masks_with_reduced_zero,
        'warned',
        'no pixel of the labels has a class: the files hold 0, 255 alone.*`mask // 255`',
    ),
    (
        unlabelled_is_not_reduced,
        'refused',
        r'000.png \(150\).*Expected: 0 to 149, and 255.*There are 151 values for 150 classes. If 0 is '
        r'unlabelled, set '
        'reduce_zero_label=True',
    ),
    (
        two_answers_about_zero,
        'refused',
        'LoadAnnotations of the pipeline has reduce_zero_label=True, BaseSegDataset has False',
    ),
    (
        colours,
        'refused',
        r'all .* label files with colours instead of classes: \S+000.png \(mode RGB\).*Expected: one channel',
    ),
    (
        colours_of_cityscapes,
        'refused',
        r'_color.png \(mode RGB\).*python tools/data/cityscapes.py \S+ writes them',
    ),
    (
        numbers_of_instances,
        'warned',
        r'label files with values that 8 bits do not hold.*000.png \(uint16, such as 25500\)',
    ),
    # jpg for png
    (
        jpg_images_for_png,
        'refused',
        r"no file in '.*train/images' ends in '.png' \(img_suffix\); 6 end in '.jpg', such as '000.jpg'.*"
        '--cfg-options train_dataloader.dataset.img_suffix=.jpg',
    ),
    (
        jpg_images_of_a_list,
        'refused',
        r"all 6 listed images missing: \S+000.png.*same names with '.jpg': --cfg-options "
        r'train_dataloader.dataset.img_suffix=.jpg',
    ),
    (
        jpg_labels,
        'refused',
        "all 6 images without a label file: .*They are there with '.jpg', but JPEG changes the values: "
        'write PNG',
    ),
    (
        jpg_labels_that_are_read,
        'refused',
        r'\S+000.jpg .*JPEG changes the values of labels: write PNG from what they were made of',
    ),
    # the number of classes
    (
        too_few_classes_in_the_head,
        'refused',
        r'model.decode_head.num_classes=2, but train_dataloader.dataset \(BaseSegDataset\) has 3 classes. '
        'Set --cfg-options model.decode_head.num_classes=3',
    ),
    (too_many_classes_in_the_head, 'warned', 'model.decode_head.num_classes=19, but .* has 3 classes'),
    (
        labels_beyond_the_classes,
        'refused',
        r'all .* label files with values that are no class: \S+000.png \(3, 4, 5, 6\), \d+.png \(3, 4, 5, '
        r'6\).*'
        'Expected: 0 to 2, and 255.*metainfo.classes',
    ),
    (background_is_a_class, 'refused', r'000.png \(3\).*There are 4 values for 3 classes.*\(background\)'),
    # images without labels, and labels that do not fit
    (
        some_images_without_labels,
        'refused',
        r'2 of 6 images without a label file: \S+train/images/001.png, 004.png. No .*labels/001.png.*'
        'name that list as train_dataloader.dataset.ann_file',
    ),
    (
        labels_of_another_name,
        'refused',
        'all 6 images without a label file.*That folder has other names, such as 000_mask.png',
    ),
    (
        sizes_of_two_kinds,
        'refused',
        r'another size \(height x width\) than the image: \S+000.png \(8 x 12, the image 16 x 24\)',
    ),
    (cut_files, 'refused', r'image files cannot be read: \S+000.png \(Truncated File Read'),
]


@pytest.fixture(params=MISTAKES, ids=[make.__name__ for make, *_ in MISTAKES])
def mistake(request, tmp_path):
    """A config with one mistake, how a run begins with it, and the pattern of the sentence about it."""
    make, before, pattern = request.param
    return make(tmp_path), before, pattern


def test_the_whole_check_names_file_and_cure(mistake, wrong):
    cfg, _, pattern = mistake
    said = wrong(cfg)
    assert any(re.search(pattern, text, re.S) for text in said), said


def test_a_run_begins_with_the_same_sentence(mistake, quick):
    cfg, before, pattern = mistake
    said = quick(cfg)
    assert re.match(f'{before}: .*{pattern}', said, re.S), said
    if 'finds no' not in said:
        assert said.endswith('`python tools/data/check.py CONFIG` looks at every file.')


def test_only_a_sample_is_called_one(tmp_path, wrong, quick):
    cfg = cut_files(tmp_path)
    (tmp_path / 'train/labels/001.png').unlink()
    assert any('all 5 image files cannot be read' in text for text in wrong(cfg))
    write_split(tmp_path, 'train', 6, high=7)
    assert 'all 4 sampled label files' in quick(cfg)


def test_there_is_nothing_to_say_of_a_good_data_set(small, wrong, notes, quick):
    assert wrong(small.cfg) == [] and notes(small.cfg) == [] and quick(small.cfg) == ''


def test_a_root_for_a_wrapper_is_refused(small, quick, wrong):
    """No wrapper takes it: the run would end in a TypeError, and the data sets inside would keep theirs."""
    small.cfg.train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[small.train, small.train], data_root='elsewhere'
    )
    said = (
        r'train_dataloader.dataset.data_root: a wrapper of data sets takes no such argument. Set that of '
        r'each data set inside: '
        r'--cfg-options train_dataloader.dataset.datasets.0.data_root='
    )
    assert re.match(f'refused: {said}', quick(small.cfg)) and re.search(said, wrong(small.cfg)[0])
