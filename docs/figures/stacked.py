"""What the figures that consist of several have in common."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image


def save_stacked(figures: Sequence[Figure], target: Path, dpi: int, colours: int = 64) -> None:
    """Write the figures, one below the other, as one PNG of few colours."""
    pictures = [_picture(figure, dpi) for figure in figures]
    whole = Image.new("RGB", (max(picture.width for picture in pictures), sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    whole.quantize(colours).save(target, optimize=True)


def _picture(figure: Figure, dpi: int) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    file.seek(0)
    return Image.open(file)
