"""One page about a network: its text, its picture, its kernels at every stage, what they take and what they cost."""

from cnndsl.report.gather import build
from cnndsl.report.model import Report
from cnndsl.report.render import page

__all__ = ["Report", "build", "page"]
