"""``python -m oddwatch``."""

from oddwatch.cli import main

main()
