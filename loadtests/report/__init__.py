"""The HTML report: one file with charts as SVG, nothing loaded from anywhere, light and dark."""

from loadtests.report.page import page, picture

__all__ = ["page", "picture"]
