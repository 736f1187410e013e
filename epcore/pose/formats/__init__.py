"""Poses as other programs read them, one format a file.

A format is a class that is given an open binary file, then `Observation` after `Observation`, and `finish()`: what has been
given is in the file, so that films of any length need no memory. Keypoints that are missing are missing in every format.
"""

from __future__ import annotations

from epcore.pose.formats.observation import Format, Observation

__all__ = ["Format", "Observation"]
