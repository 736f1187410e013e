"""Films: frame after frame, with the crop following the person. Needs PyAV (`pip install 'epcore[video]'`).

from epcore.video import FilmReader, predict_film

with FilmReader.open("film.mp4") as film:
    for seen in predict_film(film, epcore.compile(model)):
        print(seen.time, seen.pose.points)
"""

from __future__ import annotations

from epcore.video.follow import Follower
from epcore.video.predict_film import FilmPose, predict_film
from epcore.video.reader import FilmReader, Frame
from epcore.video.smooth import OneEuro
from epcore.video.writer import FilmWriter

__all__ = ["FilmPose", "FilmReader", "FilmWriter", "Follower", "Frame", "OneEuro", "predict_film"]
