"""`epcore predict film.mp4`, `epcore predict --camera 0`: keypoints of the person in every frame.

Ctrl-C ends the film where it is: what has been done is written, exit code 130.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from epcore.base.checks import COUNT, Real, Whole
from epcore.base.notices import say
from epcore.base.progress import progress_bar
from epcore.base.signals import INTERRUPTED
from epcore.commands.model import load_model
from epcore.commands.pose_outputs import PoseOutputs
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.video import FilmPose, FilmReader

SHIPPED_MINIMUM = 0.5  # from which a keypoint counts; below it the weights that come with epcore guess


def add_film_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--camera", metavar="N", help="look through a camera instead, by number or name, until Ctrl-C")
    parser.add_argument("--frames", type=Whole(1, COUNT), metavar="N", help="of a film or camera, the first N frames only")
    parser.add_argument("--smooth", action="store_true", help="smooth a film's keypoints (One-Euro filter)")
    parser.add_argument("--smooth-cutoff", type=Real(0, 1000, above=True), default=2.0, metavar="HZ", help="its cut-off (2)")
    parser.add_argument("--smooth-slope", type=Real(0, 1e6), default=20.0, metavar="HZ", help="its rise with speed (20)")


def is_film_command(arguments: argparse.Namespace) -> bool:
    """Raises ValueError for what is neither pictures nor one film or camera."""
    from epcore.video.recognise import is_film

    films = [image for image in arguments.images if is_film(image)]
    if arguments.camera is not None and arguments.images:
        raise ValueError(f"--camera and {arguments.images[0]} are both named, expected one of them")
    if films and len(arguments.images) > 1:
        raise ValueError(f"{films[0]} is a film: expected it alone, one film a command")
    if arguments.camera is None and not arguments.images:
        raise ValueError("no picture, film or camera is named")
    film = bool(films) or arguments.camera is not None
    for option in ("box", "boxes", "find"):
        if film and getattr(arguments, option):
            raise ValueError(f"--{option} is for pictures: in a film the person is followed from frame to frame")
    return film


def run_film(arguments: argparse.Namespace) -> Result:
    from epcore.inference.engine import engine
    from epcore.pose.formats import Observation
    from epcore.video import FilmReader, Follower, OneEuro, predict_film
    from epcore.video.follow import MINIMUM

    outputs = PoseOutputs(arguments, film=True)
    opened = FilmReader.open(arguments.images[0]) if arguments.camera is None else FilmReader.camera(arguments.camera)
    with opened as film, ExitStack() as closing:
        chosen = engine(load_model(arguments), backend=arguments.backend)
        overlay = closing.enter_context(_overlay(arguments, film))
        smoothing = OneEuro(arguments.smooth_cutoff, arguments.smooth_slope) if arguments.smooth else None
        usual = MINIMUM if arguments.weights else SHIPPED_MINIMUM
        follower = Follower(usual if arguments.min_score is None else arguments.min_score)
        poses = predict_film(
            film, chosen, follower=follower, smoothing=smoothing, sound=overlay.sound,
            real_time=arguments.real_time, method=arguments.method, coarse=arguments.coarse, flip=arguments.flip,
            scales=arguments.scales,
        )  # fmt: skip
        closing.callback(poses.close)
        tally = _Tally(film)
        try:
            with progress_bar(arguments.frames or film.frames, 0, "frame") as bar:
                for seen in poses:
                    overlay.draw(seen, follower.minimum)
                    outputs.add(Observation(film.name, seen.pose, seen.number, seen.time))
                    tally.add(seen)
                    bar.update()
                    if arguments.frames and tally.count >= arguments.frames:
                        break
                else:
                    tally.ended = True
        except KeyboardInterrupt:
            tally.interrupted = True
    code = tally.report(strict=arguments.strict)
    return Result("" if outputs.wanted else tally.text(), files=outputs.finish(), code=code)


class _NoOverlay:
    sound = None

    def draw(self, seen: FilmPose, minimum: float) -> None:
        pass


class _Overlay:
    """Drawn and written in a thread of its own."""

    def __init__(self, arguments: argparse.Namespace, film: FilmReader, closing: ExitStack) -> None:
        from epcore.commands.overlay_names import overlay_names
        from epcore.video.behind import Behind
        from epcore.video.writer import FilmWriter, container_for

        ending = container_for(film)
        (name,) = overlay_names([film.name], arguments.overlay)
        file = closing.enter_context(arguments.staging.folder(arguments.overlay).open(name + ending))
        self._writer = closing.enter_context(FilmWriter(file, ending, film))
        self._behind = closing.enter_context(Behind())
        add_sound = self._writer.add_sound
        self.sound: Callable[[object], None] | None = lambda packet: self._behind.do(lambda: add_sound(packet))

    def draw(self, seen: FilmPose, minimum: float) -> None:
        from epcore.video.overlay import draw_frame

        frame = seen.frame
        self._behind.do(lambda: self._writer.add(draw_frame(frame.pixels, seen.pose, minimum), frame.pts))


@contextmanager
def _overlay(arguments: argparse.Namespace, film: FilmReader) -> Iterator[_Overlay | _NoOverlay]:
    with ExitStack() as closing:
        yield _Overlay(arguments, film, closing) if arguments.overlay else _NoOverlay()


class _Tally:
    """What there is to say about a film when it is over."""

    def __init__(self, film: FilmReader) -> None:
        self._film, self._begun = film, perf_counter()
        self.count, self._score, self._time = 0, 0.0, 0.0
        self.ended = self.interrupted = False

    def add(self, seen: FilmPose) -> None:
        self.count += 1
        self._score += seen.pose.score
        self._time = seen.time

    def report(self, *, strict: bool) -> int:
        """Say what was wrong with the film; the exit code. strict: that is an error. Raises ValueError."""
        film, wrong = self._film, []
        if film.damaged:
            wrong.append(f"{film.damaged} damaged frames left out")
        if film.problem:
            wrong.append(f"ends early: {film.problem}")
        elif self.ended and film.frames and film.frames > self.count + film.damaged:
            wrong.append(f"ends early, after {self.count} of {film.frames} frames")
        if wrong and strict:
            raise ValueError(f"{film.name}: {', '.join(wrong)}")
        if self.interrupted:
            say(f"epcore: {film.name}: stopped after {self.count} frames")
        for each in wrong:
            say(f"epcore: {film.name}: {each}")
        return INTERRUPTED if self.interrupted else int(bool(wrong))

    def text(self) -> str:
        film, passed = self._film, perf_counter() - self._begun
        return (
            f"{film.name}  {film.width} x {film.height}, {self.count} frames, {self._time:.2f} s, mean score "
            f"{self._score / max(1, self.count):.2f}, {self.count / passed:.1f} frames/s\n"
            "keypoints: --json-lines, --csv, --csv-wide, --json, --coco, --openpose, --trc, --angles; a film: --overlay"
        )
