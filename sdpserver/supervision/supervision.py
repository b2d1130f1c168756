"""Makes a feed of what sessions, DNs and trunks tell."""

from __future__ import annotations

import time
from typing import Any

from sdpserver.agents import Agents
from sdpserver.agents.directory import Dn
from sdpserver.events import SessionEvent
from sdpserver.models.supervision import EventType, Snapshot
from sdpserver.models.trunks import TrunkInfo
from sdpserver.session import Session, Sessions
from sdpserver.session.inbound import dn_of
from sdpserver.sip import SipEndpoint

from .feed import Feed, FeedSubscription, View, frame


class Supervision:
    """A follower of all sessions, DNs and trunks, and who its readers come to."""

    def __init__(self, sessions: Sessions, agents: Agents, sip: SipEndpoint | None) -> None:
        self._sessions = sessions
        self._agents = agents
        self._feed = Feed(now_s=time.time())
        sessions.follow(self)
        agents.on_status = self._dn_changed
        if sip is not None:
            sip.on_trunk_status = self._trunk_changed

    # -- readers

    def subscribe(self, view: View, *, after_id: int | None, snapshot: bool) -> FeedSubscription:
        """:param after_id: of the last event that the reader has seen; None: it is new.
        :param snapshot: whether a new reader is first told how things are. One that has lost events always is.
        """
        if after_id is not None and not self._feed.lacks(after_id):
            return self._feed.subscribe(view, after_id=after_id)
        subscription = self._feed.subscribe(view)
        if after_id is not None:
            subscription.put(frame(self._feed.last_id, "gap", {"after": after_id}))
        if snapshot or after_id is not None:
            subscription.put(self._snapshot(view))
        return subscription

    def _snapshot(self, view: View) -> bytes:
        found = Snapshot(
            calls=[
                session.describe_call()
                for session in self._sessions.calls()
                if view.sees_call(session.owner, dn_of(session.owner))
            ],
            dns=[dn.describe() for dn in self._agents.all if view.sees_dn(dn.number)],
            trunks=[] if view.dns else self._sessions.trunks(),
        )
        data = {"calls": found.calls, "dns": found.dns, "trunks": found.trunks}
        return frame(self._feed.last_id, "snapshot", data)

    def close(self) -> None:
        """No more events: all streams end."""
        self._feed.close()

    # -- sessions

    def session_began(self, session: Session) -> None:
        self._tell(session, "callBegan")
        session.events.follow(lambda event: self._see(session, event))

    def session_ended(self, session: Session) -> None:
        """Nothing more: its event `closed` has told it."""

    def _see(self, session: Session, event: SessionEvent) -> None:
        data = event.data
        match event.type:
            case "ringing" | "early":
                self._tell(session, "callRinging")
            case "answered":
                self._tell(session, "callAnswered")
            case "hold":
                self._tell(session, "callHeld" if data["held"] else "callResumed", by=data["by"])
            case "transfer":
                self._tell(session, "callTransferred", transfer=dict(data))
            case "recording":
                self._tell(session, "callRecording", recording=dict(data))
            case "quality" if self._feed.wants("callQuality"):
                self._tell(session, "callQuality", keep=False, quality=dict(data))
            case "closed":
                self._tell(
                    session,
                    "callEnded",
                    state="ended",
                    reason=data["reason"],
                    duration_s=data["duration_s"],
                    sipStatus=data["sip_status"],
                )

    def _tell(self, session: Session, type_: EventType, *, keep: bool = True, **more: Any) -> None:
        owner = session.owner
        data = {**session.describe_call(), **more}
        self._feed.publish(type_, data, owner=owner, dn=dn_of(owner), keep=keep)

    # -- DNs and trunks

    def _dn_changed(self, dn: Dn) -> None:
        self._feed.publish("dnStatus", dn.describe(), dn=dn.number)

    def _trunk_changed(self, status: TrunkInfo) -> None:
        self._feed.publish("trunkStatus", status)
