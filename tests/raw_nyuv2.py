"""Small files in the form of the official ones of NYUv2."""

import h5py
import numpy as np
import scipy.io

COUNT, HEIGHT, WIDTH = 6, 8, 10
TRAIN, TEST = [2, 3, 6], [1, 4, 5]
MAPPING = np.random.default_rng(7).integers(1, 41, 894)  # of 894 fine labels, as in the official file


def official(seed=0):
    """Height x width arrays of all images, without any symmetry."""
    rng = np.random.default_rng(seed)
    fine = rng.integers(1, 895, (COUNT, HEIGHT, WIDTH))
    fine[:, 1, 2:5] = 0
    fine[:, 0, 0], fine[:, 0, 1] = 894, 1
    depths = rng.uniform(0.7, 9.9, (COUNT, HEIGHT, WIDTH)).astype(np.float32)
    raw = depths + np.float32(0.05)
    raw[:, 2, 3] = 0
    return dict(
        images=rng.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8),
        depths=depths,
        rawDepths=raw,
        labels=fine.astype(np.uint16),
    )


def write_mat(path, arrays):
    """A MATLAB v7.3 file: HDF5 behind a header of 512 bytes, all axes but that of the images reversed."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.transpose(0, *range(array.ndim - 1, 0, -1))
        file['accelData'] = np.zeros((4, COUNT))
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file, Platform: GLNXA64'.ljust(512))


def write_splits(path, train=TRAIN, test=TEST):
    scipy.io.savemat(
        path, dict(trainNdxs=np.array(train, float)[:, None], testNdxs=np.array(test, float)[:, None])
    )
