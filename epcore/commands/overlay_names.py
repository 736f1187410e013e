"""Names of overlays."""

from __future__ import annotations

import os
from collections.abc import Sequence

from epcore.base.files import short_stem


def overlay_names(images: Sequence[str], folder: str) -> list[str]:
    """One name without suffix for each picture: NAME_pose, numbered where two pictures or an input would share it."""
    taken = {os.path.splitext(os.path.realpath(image))[0].casefold() for image in images}
    names = []
    for image in images:
        name = stem = f"{short_stem(image)}_pose"
        number = 2
        while (key := os.path.realpath(os.path.join(folder, name)).casefold()) in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(key)
        names.append(name)
    return names
