"""Bodies of the agent desktop's routes. Their names are those that Genesys Workspace calls a softphone by."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from .base import CallId, DnNumber, Request, Response

MAX_USERS = 16
Users = Annotated[list[DnNumber], Meta(min_length=1, max_length=MAX_USERS)]
OneUser = Annotated[list[DnNumber], Meta(min_length=1, max_length=1)]
Addresses = Annotated[list[Annotated[str, Meta(max_length=256)]], Meta(max_length=MAX_USERS)]
Destination = Annotated[str, Meta(min_length=1, max_length=256)]


class RegisterDnRequest(Request):
    """POST /RegisterDn. `addresses`: the SIP servers that the desktop knows; the page's DN is registered where the
    configuration says, so they change nothing."""

    users: Users
    addresses: Addresses = field(default_factory=list)


class UnregisterDnRequest(Request):
    """POST /UnregisterDn. Without `users`: all that this desktop has signed on to."""

    users: Users | None = None
    addresses: Addresses = field(default_factory=list)


class DesktopRequest(Request):
    """POST /HangUp, /AnswerCall, /Retrieve. `dn`, or as in /RegisterDn `users`: left out, the one that this desktop has
    signed on to; `callId`: left out, the call that is meant by the order."""

    dn: DnNumber | None = None
    users: OneUser | None = None
    callId: CallId | None = None


class DesktopMakeCallRequest(Request):
    """POST /MakeCall. `destination`, or `to`."""

    destination: Destination | None = None
    to: Destination | None = None
    dn: DnNumber | None = None
    users: OneUser | None = None


class DesktopHoldRequest(DesktopRequest):
    """POST /Hold. `hold`: false is as /Retrieve."""

    hold: bool = True


class DesktopResult(Response):
    """What became of an order. When it could not be carried out, `reason` is a word for it, and `error` a sentence."""

    callId: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    error: str | UnsetType = UNSET


class RegisterDnResponse(DesktopResult, kw_only=True):
    RegisterDnResult: bool


class UnregisterDnResponse(DesktopResult, kw_only=True):
    UnregisterDnResult: bool


class MakeCallResponse(DesktopResult, kw_only=True):
    MakeCallResult: bool


class AnswerCallResponse(DesktopResult, kw_only=True):
    AnswerCallResult: bool


class HangUpResponse(DesktopResult, kw_only=True):
    HangUpResult: bool


class HoldResponse(DesktopResult, kw_only=True):
    HoldResult: bool


class RetrieveResponse(DesktopResult, kw_only=True):
    RetrieveResult: bool


class IsEndpointActiveResponse(Response):
    """GET /GetIsEndpointActive: whether a softphone page is connected."""

    get_IsEndpointActiveResult: bool


class PingResponse(Response):
    """GET /Ping."""

    PingResult: bool = True
