"""Agents: DNs, the connections of their clients, and JSON signalling over them (section 3 of the wire contract)."""

from .desktop import Desktops
from .directory import Agents
from .signalling import Signalling

__all__ = ["Agents", "Desktops", "Signalling"]
