"""The JSON file of a data set in COCO's form: can it be read, and is every value of the kind that mmdet
computes with?
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from kd_methods.data_check.findings import STOPS, listed
from kd_methods.data_check.recipes import how_to_get
from kd_methods.data_check.splits import Split


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return _is_number(value) or _is_text(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


_KINDS = {
    _is_number: 'a number',
    _is_text: 'a text',
    _is_id: 'a number or a text',
    _is_box: '[x, y, width, height]',
}
_FORM = dict(
    images=dict(id=_is_id, file_name=_is_text, height=_is_number, width=_is_number),
    categories=dict(id=_is_id, name=_is_text),
    annotations=dict(id=_is_id, image_id=_is_id, category_id=_is_id),
)
_OBJECT = dict(bbox=_is_box, area=_is_number)  # of the annotations that mmdet looks at


def read_coco(split: Split, path: str) -> dict | None:
    """The content of a JSON file; None, and a finding, where it is not of COCO's form.

    ``annotations`` is None where the file has none.
    """
    with open(path, encoding='utf-8', errors='replace') as file:
        text = file.read()
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        what = (
            'is cut off'
            if error.pos >= len(text.rstrip()) - 1 or 'Unterminated' in error.msg
            else 'is no valid JSON'
        )
        split.say(
            STOPS,
            f'{path!r} {what}: {error.msg} at character {error.pos:,} of {len(text):,}. Copy or write it '
            f'again. {how_to_get(split.leaf, path)}.',
        )
        return None
    lacking = _lacking(content)
    if lacking:
        split.say(STOPS, f"{path!r} is not of COCO's form: {lacking}. Convert the annotations to that form.")
        return None
    content.setdefault('annotations', None)
    return content


def repeated(entries: Iterable[dict]) -> list[str]:
    """The ids that more than one entry has."""
    return [str(i) for i, times in Counter(entry['id'] for entry in entries).items() if times > 1]


def _lacking(content: Any) -> str:
    """What a JSON file lacks of COCO's form, in words; '' if nothing."""
    if not isinstance(content, dict):
        return f'expected an object with {", ".join(_FORM)}, got a {type(content).__name__}'
    # Those of a test split have no annotations.
    missing = [
        name
        for name in _FORM
        if not isinstance(content.get(name, [] if name == 'annotations' else None), list)
    ]
    if missing:
        return f'no list of {" and ".join(missing)} (it has {listed(sorted(content))})'
    for name, form in _FORM.items():
        listed_images = {image['id'] for image in content['images']} if name == 'annotations' else ()
        for i, entry in enumerate(content.get(name, [])):
            if not isinstance(entry, dict):
                return f'{name}[{i}] is {entry!r:.50}, expected an object'
            wrong = _wrong(entry, form)
            if (
                not wrong
                and name == 'annotations'
                and entry['image_id'] in listed_images
                and not entry.get('ignore')
            ):
                wrong = _wrong(entry, _OBJECT)
            if wrong:
                return f'{name}[{i}]{wrong}'
    return ''


def _wrong(entry: dict, form: dict) -> str:
    """What an entry lacks of a form, in words that stand behind its name."""
    gone = [key for key in form if key not in entry]
    if gone:
        return f' has no {" and ".join(gone)}'
    return next(
        (
            f'.{key} is {entry[key]!r:.50}, expected {_KINDS[fits]}'
            for key, fits in form.items()
            if not fits(entry[key])
        ),
        '',
    )
