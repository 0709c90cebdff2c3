"""Detectors of anomalous pictures: one method, one file; the blocks they share are ``base``, ``tokens``, ``maps``, ``bank``,
``density`` and ``mutual``."""
