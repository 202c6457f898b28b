"""The figures' colours can be told apart by readers with each kind of colour blindness."""

from itertools import combinations

import numpy as np
import pytest

from yzlin.plots import PALETTE

# What a reader without one kind of cone sees, in linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1.0).
SEEN = {
    "all colours": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
RGB_TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(colour: str, seen) -> np.ndarray:
    """A colour like #0072B2 in CIE Lab, where a distance of about 2 is the least that an eye can see."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = RGB_TO_XYZ @ np.clip(np.asarray(seen) @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", SEEN)
def test_every_pair_of_colours_can_be_told_apart(kind):
    for one, other in combinations(PALETTE, 2):
        assert np.linalg.norm(lab(one, SEEN[kind]) - lab(other, SEEN[kind])) > 15, (one, other)


def test_the_check_can_fail():
    red, green = "#CC4444", "#777733"
    near = np.linalg.norm(lab(red, SEEN["deuteranopia"]) - lab(green, SEEN["deuteranopia"]))
    assert near < 15 < np.linalg.norm(lab(red, SEEN["all colours"]) - lab(green, SEEN["all colours"]))
