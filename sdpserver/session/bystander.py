"""Who listens to a far end before it is part of a session: how the call goes is all that matters."""

from __future__ import annotations

from typing import Any

from sdpserver.dtmf import Press
from sdpserver.sip import Refer

from .far_end import CallEnd
from .states import CallState


class Bystander:
    """A `FarEndListener`, to be given `call_progressed` and `call_ended`."""

    call_id: str
    owner: str

    def call_progressed(self, state: CallState, detail: dict[str, Any]) -> None:
        raise NotImplementedError

    def call_ended(self, end: CallEnd) -> None:
        raise NotImplementedError

    def call_media_changed(self, detail: dict[str, Any]) -> None:
        pass

    def call_held(self, held: bool) -> None:
        pass

    def call_transferring(self, status: int, reason: str, *, final: bool) -> None:
        pass

    def call_referred(self, refer: Refer) -> None:
        pass

    def call_replaced(self) -> None:
        pass

    def call_step(self, name: str) -> None:
        pass

    def call_pressed(self, press: Press) -> None:
        pass

    def room_event(self, type_: str, **data: Any) -> None:
        pass

    def room_talking(self, room: str | None, members: list[str]) -> None:
        pass

    def room_dissolved(self) -> None:
        pass
