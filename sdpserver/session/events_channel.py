"""The data channel labelled `events`: a session's events, as JSON texts."""

from __future__ import annotations

import orjson

from sdpserver.events import EventLog, SessionEvent
from sdpserver.webrtc import DataChannel

EVENTS_CHANNEL = "events"


def follow_events(channel: DataChannel, events: EventLog) -> None:
    """Send each event, from the first one kept, until the channel is closed."""

    def forward(event: SessionEvent) -> None:
        if channel.closed:
            events.unlisten(forward)
        else:
            channel.send(orjson.dumps(event.as_json()).decode())

    events.follow(forward)
