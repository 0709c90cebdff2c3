"""The version, read by the build and by every stored artefact."""

__version__ = "0.1.0"
