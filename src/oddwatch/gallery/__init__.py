"""What is remembered: the catalogue and vector index of people, moments and findings."""

from oddwatch.gallery.snapshot import Space
from oddwatch.gallery.sources import SourceInfo, SourceState
from oddwatch.gallery.store import Gallery

__all__ = ["Gallery", "SourceInfo", "SourceState", "Space"]
