"""The demo's page: one HTML file with everything in it, pictures included; it asks for nothing from outside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; border: 1px solid #ddd; } pre { background: #f6f6f4; padding: .8rem; overflow-x: auto;
  font-size: .8rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; } .note { color: #666; }
"""

READING = (
    ("epcore/ops/depthwise_conv2d.py", "one operator: equation, forward, backward, cost"),
    ("epcore/models/efficientpose.py", "the network, as the paper draws it"),
    ("epcore/tape.py", "how gradients are collected"),
    ("epcore/inference/plan.py", "how the same network runs several times faster"),
    ("epcore/audit", "how the paper's numbers are recomputed"),
)


def demo_page(
    *,
    sheet: bytes,
    weights: str,
    timings: Mapping[str, float],
    pckh: str,
    gradients: Sequence[tuple[str, float, float]],
    audit: str,
) -> str:
    """sheet: PNG. timings: milliseconds a picture. gradients: (operator, worst relative error, bound). Texts are escaped."""
    picture = base64.b64encode(sheet).decode()
    rows = "".join(
        f"<tr><td>{escape(op)}</td><td>{error:.1e}</td><td>{bound:.0e}</td><td>{'yes' if error <= bound else 'NO'}</td></tr>"
        for op, error, bound in gradients
    )
    times = "".join(f"<tr><td>{escape(name)}</td><td>{ms:.1f} ms</td></tr>" for name, ms in timings.items())
    reading = "".join(f"<li><code>{escape(path)}</code>: {escape(text)}</li>" for path, text in READING)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>epcore demo</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>epcore: EfficientPose from scratch</h1>
<p>EfficientPose RT on synthetic figures that it was not trained on. {escape(weights)}</p>
<img alt="contact sheet: pictures, confidence maps, part affinity fields, skeletons" src="data:image/png;base64,{picture}">
<h2>How often it is right</h2><pre>{escape(pckh)}</pre>
<h2>How fast it is here</h2><table>{times}</table>
<h2>Are the gradients right?</h2>
<p>Every hand-written backward pass against numerical derivatives, in double.</p>
<table><tr><th>operator</th><th>worst relative error</th><th>bound</th><th>within</th></tr>{rows}</table>
<h2>Is it the paper's network?</h2><pre>{escape(audit)}</pre>
<h2>Where to read on</h2><ul>{reading}</ul>
</body></html>
"""
