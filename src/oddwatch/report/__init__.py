"""The pages people look at: a search as one self-contained HTML file."""

from oddwatch.report.page import Picture, SearchLike, render
from oddwatch.report.pictures import context

__all__ = ["Picture", "SearchLike", "context", "render"]
