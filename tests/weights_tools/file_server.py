"""An HTTP server of one file, which misbehaves as it is told, and a table of published files that names it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Plan:
    """What the server does. cuts: for each request in turn, after how many bytes of the answer the connection breaks, None for
    not at all; hangs: the same, but it stays silent. status: of every answer, if it is not to be the file. shift: ranges begin
    so much later than they were asked for. location: where it sends on to. pause: seconds before each 16 KB.
    """

    content: bytes
    etag: str = '"one"'
    ranges: bool = True
    believes: bool = False  # gives a range whatever If-Range says
    cuts: list[int | None] = field(default_factory=list)
    hangs: list[int | None] = field(default_factory=list)
    status: int = 200
    shift: int = 0
    location: str = ""
    pause: float = 0
    seen: list[dict[str, str]] = field(default_factory=list)  # headers of the requests, in lower case
    ended: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    plan: Plan

    def do_GET(self) -> None:
        plan = self.plan
        plan.seen.append({name.lower(): value for name, value in self.headers.items()})
        if plan.location and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", plan.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if plan.status != 200:
            self.send_response(plan.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self._start()
        if start >= len(plan.content) and start:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = plan.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(plan.content) - 1}/{len(plan.content)}")
        if plan.etag:
            self.send_header("ETag", plan.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, hang = (each.pop(0) if each else None for each in (plan.cuts, plan.hangs))
        for at in range(0, len(body) if cut is None and hang is None else (cut or hang or 0), 1 << 14):
            time.sleep(plan.pause)
            try:
                self.wfile.write(body[at : min(at + (1 << 14), cut or hang or len(body))])
            except OSError:  # who asked has gone
                return
        if hang is not None:
            plan.ended.wait(30)

    def _start(self) -> int:
        wanted = self.headers.get("Range", "")
        if not wanted or not self.plan.ranges:
            return 0
        if not self.plan.believes and self.headers.get("If-Range") != self.plan.etag:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-")) + self.plan.shift

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(plan: Plan, context: Any = None) -> Iterator[str]:
    """The server's address, http://127.0.0.1:PORT/, or https with a TLS context."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"plan": plan}))
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}/"
    finally:
        plan.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def write_table(path: Path, address: str, content: bytes, *, size: bool = True, name: str = "EfficientPoseRT.h5") -> None:
    """A table with one file, RT's."""
    row = f'network = "RT", name = "{name}", digest = "sha256:{hashlib.sha256(content).hexdigest()}"'
    row += f", size = {len(content)}" if size else ""
    path.write_text(f'[[publisher]]\ntitle = "tests"\naddress = {json.dumps(address)}\nfiles = [{{ {row} }}]\n')
