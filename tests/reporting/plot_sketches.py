"""Figures as text: all that their artists show, without drawing them."""

from __future__ import annotations

import numpy as np


def sketch(figure):
    """Give a line an artist with its place, its colour, its words and its numbers."""
    from matplotlib.collections import Collection
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    told = [str(figure.get_size_inches())]
    for artist in figure.findobj():
        kind = type(artist).__name__
        if isinstance(artist, Text):
            told.append(f"{kind} {artist.get_position()} {artist.get_text()!r}")
        elif isinstance(artist, Line2D):
            told.append(f"{kind} {artist.get_color()} {np.array(artist.get_xydata()).tolist()}")
        elif isinstance(artist, AxesImage):
            told.append(f"{kind} {np.ma.filled(artist.get_array(), np.nan).tolist()}")
        elif isinstance(artist, Patch):
            box = artist.get_path().vertices @ artist.get_patch_transform().get_matrix()[:2, :2]
            told.append(f"{kind} {artist.get_facecolor()} {artist.get_hatch()} {box.tolist()}")
        elif isinstance(artist, Collection):
            paths = [path.vertices.tolist() for path in artist.get_paths()]
            told.append(f"{kind} {np.array(artist.get_offsets()).tolist()} {paths}")
    return "\n".join(told)
