"""Agents: DNs, the connections of their clients, and JSON signalling over them (section 3 of the wire contract)."""

from .directory import Agents
from .signalling import Signalling

__all__ = ["Agents", "Signalling"]
