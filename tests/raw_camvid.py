"""Small files in the form of CamVid's colour-coded release."""

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16
#: Name -> its place in the usual split; the neighbours of each border are among them.
NAMES = {
    '0001TP_006690': 'train',
    '0001TP_008520': 'train',
    '0001TP_008550': 'test',
    '0001TP_010380': 'test',
    '0006R0_f00930': 'train',
    '0016E5_07920': 'train',
    '0016E5_07959': 'val',
    '0016E5_08159': 'val',
    '0016E5_08190': 'train',
    'Seq05VD_f00000': 'test',
}
#: label_colors.txt of the release.
COLOURS = """64 128 64	Animal
192 0 128	Archway
0 128 192	Bicyclist
0 128 64	Bridge
128 0 0		Building
64 0 128	Car
64 0 192	CartLuggagePram
192 128 64	Child
192 192 128	Column_Pole
64 64 128	Fence
128 0 192	LaneMkgsDriv
192 0 64	LaneMkgsNonDriv
128 128 64	Misc_Text
192 0 192	MotorcycleScooter
128 64 64	OtherMoving
64 192 128	ParkingBlock
64 64 0		Pedestrian
128 64 128	Road
128 128 192	RoadShoulder
0 0 192		Sidewalk
192 128 128	SignSymbol
128 128 128	Sky
64 128 192	SUVPickupTruck
0 0 64		TrafficCone
0 64 64		TrafficLight
192 64 128	Train
128 128 0	Tree
192 128 192	Truck_Bus
64 0 64		Tunnel
192 192 0	VegetationMisc
0 0 0		Void
64 192 0	Wall
"""
PALETTE = np.array([line.split()[:3] for line in COLOURS.splitlines()], np.uint8)
LABEL_NAMES = [line.split()[3] for line in COLOURS.splitlines()]


def write_release(folder, names=NAMES, seed=0):
    """Images and colour-coded labels; the latter as numbers, lines of label_colors.txt, by name."""
    rng, numbers = np.random.default_rng(seed), {}
    for kind in ('701_StillsRaw_full', 'LabeledApproved_full'):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    (folder / 'label_colors.txt').write_text(COLOURS)
    for name in names:
        numbers[name] = rng.integers(0, len(PALETTE), (HEIGHT, WIDTH))
        write_label(folder, name, PALETTE[numbers[name]])
        image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(image).save(folder / '701_StillsRaw_full' / f'{name}.png')
    return numbers


def write_label(folder, name, colours):
    Image.fromarray(colours).save(folder / 'LabeledApproved_full' / f'{name}_L.png')
