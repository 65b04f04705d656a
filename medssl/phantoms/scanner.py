"""What a hospital's equipment and habits do to every radiograph, whoever is ill: how the phantoms' hospitals differ."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """How radiographs are taken, processed and framed; of a range each image draws its number evenly.

    None of it depends on the patient or on a finding. The defaults are those of many devices together.

    Attributes:
        zoom: size of the patient in the field of view.
        scatter: share of the rays that lost their way in the patient; little with a grid.
        blur: of focus and detector, a standard deviation as a share of the image's side.
        noise: of the quanta behind no tissue, in path length at 128 rows; the lower the dose, the more.
        sharpening: how much of the fine detail the processing adds once more.
        gamma: exponent of the tone curve; below 1 the lungs are bright.
        contrast: share of the grey scale that is used.
        base: grey value of what is darkest.
        collimated: probability that a border of the image is shut out.
        margins: breadth of such a border, as a share of the image's side.
        marked: probability of a letter that names the side.
        marker_row: height of the letter in the image, from 0 at the top to 1.
    """

    zoom: Range = (0.88, 1.22)
    scatter: Range = (0.1, 0.35)
    blur: Range = (0.0, 0.006)
    noise: Range = (0.004, 0.02)
    sharpening: Range = (0.0, 0.0)
    gamma: Range = (0.65, 1.4)
    contrast: Range = (0.75, 1.0)
    base: Range = (0.0, 0.15)
    collimated: float = 0.25
    margins: Range = (0.02, 0.09)
    marked: float = 0.5
    marker_row: Range = (0.05, 0.2)


SCANNERS = {
    "north": Scanner(
        zoom=(0.95, 1.12),
        scatter=(0.08, 0.18),
        blur=(0.0, 0.002),
        noise=(0.004, 0.008),
        sharpening=(0.4, 0.8),
        gamma=(1.05, 1.4),
        contrast=(0.9, 1.0),
        base=(0.0, 0.05),
        collimated=0.1,
        marked=0.9,
        marker_row=(0.05, 0.12),
    ),
    "west": Scanner(
        scatter=(0.08, 0.45),
        blur=(0.0, 0.01),
        noise=(0.004, 0.022),
        sharpening=(0.0, 0.8),
        gamma=(0.6, 1.4),
        contrast=(0.7, 1.0),
        base=(0.0, 0.2),
        collimated=0.3,
        margins=(0.02, 0.12),
        marker_row=(0.05, 0.6),
    ),
    "south": Scanner(
        scatter=(0.25, 0.45),
        blur=(0.005, 0.01),
        noise=(0.01, 0.02),
        gamma=(0.6, 0.85),
        contrast=(0.7, 0.9),
        base=(0.05, 0.2),
        collimated=0.5,
        margins=(0.03, 0.12),
        marked=0.9,
        marker_row=(0.86, 0.94),
    ),
}
"""The demo's hospitals. North: a digital detector with a grid, whose processing sharpens. West: clinics with devices of
all kinds. South: cassettes at the bedside, without a grid, at a low dose, collimated by hand."""
