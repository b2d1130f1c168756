"""What the server has done and does, in figures: GET /stats and GET /metrics."""

from .http import HttpStatistics
from .statistics import Statistics

__all__ = ["HttpStatistics", "Statistics"]
