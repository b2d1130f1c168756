"""One transfer that is under way: what it waits for, what it tells, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdpserver.errors import SdpServerError

from .bystander import Bystander
from .far_end import CallEnd, FarEnd
from .inbound import FarEndParts
from .local_far_end import LocalFarEnd
from .sip_far_end import SipFarEnd
from .states import CallState

if TYPE_CHECKING:
    from .session import Session

TRANSFERRED = "transferred"
"""Why a session closes whose far end has gone on."""


class Transfer:
    """One that is under way."""

    def __init__(self, session: Session, to: str) -> None:
        self._session = session
        self._to = to
        self._state = ""
        self._is_over = False

    def begin(self) -> None:
        """The session has this one now."""
        self._session.begin_transfer(self)

    def progressed(self, state: str, sip_status: int = 0) -> None:
        if not self._is_over and state != self._state:
            self._state = state
            self._session.events.emit("transfer", state=state, to=self._to, sipStatus=sip_status)

    def completed(self) -> None:
        self._finish("completed", 0)
        self._session.close(TRANSFERRED)

    def failed(self, reason: str, sip_status: int) -> None:
        """The call goes on as it was."""
        self._finish("failed", sip_status, reason=reason)

    def _finish(self, state: str, sip_status: int, **detail: Any) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._session.end_transfer()
        self._session.events.emit("transfer", state=state, to=self._to, sipStatus=sip_status, **detail)

    def sip_progressed(self, status: int, *, final: bool, reason: str) -> None:
        """What a NOTIFY said."""

    @property
    def ends_well_with_a_bye(self) -> bool:
        """The far end's going is what was asked for."""
        return False

    def cancel(self) -> None:
        """One of its sessions ends first. Idempotent."""
        self._is_over = True
        self._session.end_transfer()


class Referring(Transfer):
    """The far end's PBX does it."""

    def __init__(self, session: Session, to: str, consultation: Session | None = None) -> None:
        super().__init__(session, to)
        self._consultation = consultation

    def begin(self) -> None:
        super().begin()
        if self._consultation is not None:
            self._consultation.begin_transfer(self)  # the PBX may end that one first

    def sip_progressed(self, status: int, *, final: bool, reason: str) -> None:
        if 200 <= status < 300:
            self.completed()
        elif status >= 300:
            self.failed(reason, status)
        elif final:  # the subscription is over without a word of how it went
            self.failed("transfer_unknown", status)
        else:
            self.progressed("ringing" if status >= 180 else "trying", status)

    def completed(self) -> None:
        super().completed()
        if self._consultation is not None:
            self._consultation.close(TRANSFERRED)

    def failed(self, reason: str, sip_status: int) -> None:
        super().failed(reason, sip_status)
        if self._consultation is not None:
            self._consultation.end_transfer()

    def cancel(self) -> None:
        super().cancel()
        if self._consultation is not None:
            self._consultation.end_transfer()

    @property
    def ends_well_with_a_bye(self) -> bool:
        return True


class Handing(Transfer):
    """A DN of this server rings; when it answers, its session takes the far end over."""

    def __init__(self, session: Session, to: str) -> None:
        super().__init__(session, to)
        self.target: Session | None = None

    def create_far_end(self, session: Session, _parts: FarEndParts) -> FarEnd:
        """For the session that rings."""
        return _Promised(session, self)

    def answered(self) -> None:
        """By the target."""
        if self._is_over or self.target is None or self.target.closed:
            return
        self.target.take_far_end(self._session.give_far_end())
        self.target.call_progressed(CallState.ANSWERED, {})
        self.completed()

    def cancel(self) -> None:
        super().cancel()
        if self.target is not None:
            self.target.close("cancelled")


class _Promised(FarEnd):
    """What a session has that rings because of a transfer: the far end comes when it answers."""

    def __init__(self, session: Session, handing: Handing) -> None:
        super().__init__(session.destination, session)
        self.state = CallState.RINGING
        self._handing = handing

    async def dial(self) -> None:
        self._handing.answered()

    def _connect_two(self) -> None:
        if self.leg is not None:
            self.leg.media.send_from(None)

    def hangup(self, reason: str) -> None:
        if self.state is CallState.RINGING:
            self._handing.failed(reason, 0)
        super().hangup(reason)


class Exchanging(Bystander, Transfer):
    """A session calls somebody, and when that call is answered it takes the place of the one that it has.

    It is the new far end's listener until then. `asked_by`: whose REFER it is, who is told how it goes.
    """

    def __init__(self, session: Session, calling: Session, to: str, *, asked_by: SipFarEnd | None = None) -> None:
        super().__init__(session, to)
        self._calling = calling
        self._asked_by = asked_by
        self._new: FarEnd | None = None
        self.call_id = calling.call_id
        self.owner = calling.owner

    def dial(self, far_end: FarEnd) -> None:
        """Call; nothing is heard of it until it is answered."""
        self._new = far_end
        self.progressed("trying", 100)
        self._calling.spawn(self._dial(far_end))

    async def _dial(self, far_end: FarEnd) -> None:
        try:
            await far_end.dial()
        except SdpServerError as exc:
            self.failed(exc.reason, getattr(exc, "sip_status", 0) or 503)

    def progressed(self, state: str, sip_status: int = 0) -> None:
        super().progressed(state, sip_status)
        if self._asked_by is not None and sip_status > 100:
            self._asked_by.answer_refer(sip_status)

    def failed(self, reason: str, sip_status: int) -> None:
        if self._is_over:
            return
        new, self._new = self._new, None
        super().failed(reason, sip_status)
        if self._asked_by is not None:
            self._asked_by.answer_refer(sip_status if sip_status >= 300 else 480)
        if new is not None:
            new.close()

    def cancel(self) -> None:
        super().cancel()
        new, self._new = self._new, None
        if new is not None:
            new.close()

    # -- what the new far end tells

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None:
        if state is not CallState.ANSWERED:
            self.progressed("ringing", int(detail.get("sip_status") or 180))
            return
        new, self._new = self._new, None
        if new is None or self._is_over:
            return
        before = self._calling.take_far_end(new)
        if self._asked_by is not None:
            self._asked_by.answer_refer(200)
            self._finish("completed", 200)
            before.close()
        else:
            assert isinstance(before, LocalFarEnd)
            before.release()
            self.completed()

    def call_ended(self, end: CallEnd) -> None:
        self.failed(end.reason, end.sip_status)
