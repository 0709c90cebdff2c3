"""Detectors of video: one method is one file; all read the notes that were taken while a clip was watched once."""
