"""What goes on in the whole server, told as it happens: GET /api/events."""

from .feed import Feed, FeedSubscription, View
from .supervision import Supervision

__all__ = ["Feed", "FeedSubscription", "Supervision", "View"]
