"""From a session's events to the record of its call."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec

from sdpserver.events import SessionEvent
from sdpserver.session import Session
from sdpserver.session.far_end import BROWSER, FAR
from sdpserver.session.inbound import dn_of
from sdpserver.session.routing import wanted

from .record import CallRecord, clean, json_text, result_of

OVERTIME_S = 600.0
"""What a session may take beyond `[session] max_duration_s`: a call ends within seconds of it."""

Submit = Callable[[CallRecord], None]


class FollowedCall:
    """One session, from its beginning to its end. It is written when it begins, when it is answered, and at its end."""

    def __init__(self, session: Session, submit: Submit, *, instance: str, run_id: str, max_duration_s: float) -> None:
        self._submit = submit
        self._begun = _begin(session, instance=instance, run_id=run_id, max_duration_s=max_duration_s)
        self._answered: SessionEvent | None = None
        self._closed: SessionEvent | None = None
        self._ended: Mapping[str, Any] | None = None
        self._was_offered = False
        self._codec: str | None = None
        self._transferred_to: str | None = None
        self._recordings: list[str] = []
        self._session = session
        session.events.follow(self._on_event)
        submit(self._begun)

    def _on_event(self, event: SessionEvent) -> None:
        match event.type:
            case "answer":
                self._was_offered = True
                codecs = event.data.get("codecs")
                self._codec = codecs[0].split()[-1].partition("/")[0] if codecs else None
            case "answered" if self._answered is None:
                self._answered = event
                self._begun = msgspec.structs.replace(
                    self._begun, answered_at=event.at, sip_call_id=self._sip_call_id or self._begun.sip_call_id
                )
                self._submit(self._begun)
            case "ended":
                self._ended = event.data
            case "transfer" if event.data.get("state") in ("completed", "connected"):
                self._transferred_to = event.data.get("to") or event.data.get("remote") or self._transferred_to
            case "recording" if (path := event.data.get("path")) and path not in self._recordings:
                self._recordings.append(path)
            case "closed":
                self._closed = event
                self._begun = msgspec.structs.replace(
                    self._begun, sip_call_id=self._sip_call_id or self._begun.sip_call_id
                )

    @property
    def _sip_call_id(self) -> str | None:
        far_end = self._session.far_end
        return clean(far_end.sip_call_id) if far_end is not None else None

    def finish(self, session: Session) -> None:
        """The session has ended: its last word."""
        self._submit(self._record_of(session))

    def _record_of(self, session: Session) -> CallRecord:
        closed, answered = self._closed, self._answered
        data: Mapping[str, Any] = closed.data if closed is not None else {}
        ended = str(self._ended["reason"]) if self._ended is not None else None
        reason = session.close_reason or "internal_error"
        quality = data.get("quality") or {}
        webrtc, sip = _quality(BROWSER, quality.get(BROWSER)), _quality(FAR, quality.get(FAR))
        webrtc[f"{BROWSER}_codec"] = webrtc[f"{BROWSER}_codec"] or self._codec
        result = result_of(
            answered=answered is not None,
            inbound=session.caller is not None,
            was_offered=self._was_offered,
            ended=ended,
            closed=reason,
        )
        talked_ms = closed.elapsed_ms - answered.elapsed_ms if closed is not None and answered is not None else 0.0
        return msgspec.structs.replace(
            self._begun,
            ended_at=closed.at if closed is not None else None,
            duration_s=data.get("duration_s"),
            talk_s=round(max(talked_ms, 0.0) / 1000, 3),
            result=result.value,
            reason=clean(reason if reason == "transferred" else ended or reason),
            sip_status=data.get("sip_status") or None,
            transferred_to=clean(self._transferred_to),
            recordings=json_text(self._recordings),
            metadata=json_text(session.metadata),
            **webrtc,
            **sip,
        )


def _begin(session: Session, *, instance: str, run_id: str, max_duration_s: float) -> CallRecord:
    caller, options, destination = session.caller, session.options, session.destination
    dn = dn_of(session.owner)
    from_number: str | None
    if caller is not None:
        from_number, to_number = caller.number, dn or destination.dn
        name: str | None = caller.display_name
    else:
        from_number, name = options.from_ or dn, options.display_name
        to_number = wanted(options, session.metadata, destination.user or destination.uri)
    return CallRecord(
        record_id=secrets.token_hex(16),
        call_id=session.call_id,
        session_id=session.id,
        instance=instance,
        run_id=run_id,
        owner=clean(session.owner) or "",
        dn=clean(dn),
        direction=session.direction,
        from_number=clean(from_number),
        to_number=clean(to_number) or "",
        destination=clean(to_number if caller is not None else destination.uri) or "",
        display_name=clean(name),
        trunk=destination.trunk_name or None,
        created_at=session.created_at,
        over_by=session.created_at + timedelta(seconds=max_duration_s + OVERTIME_S),
        metadata=json_text(session.metadata),
    )


def _quality(side: str, leg: Mapping[str, Any] | None) -> dict[str, Any]:
    """Of a leg's `quality`, what is kept."""
    if leg is None:
        return {f"{side}_codec": None}
    received, sent = leg["received"], leg["sent"]
    return {
        f"{side}_codec": received["codec"] or sent["codec"],
        f"{side}_mos_received": received["mos"],
        f"{side}_mos_sent": sent["mos"],
        f"{side}_loss_received": received["loss_fraction"] if received["packets"] else None,
        f"{side}_loss_sent": sent["loss_fraction"],
    }
