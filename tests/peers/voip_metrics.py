"""A VoIP metrics block (RFC 3611 section 4.7), as a peer sends it and as it is to be read."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a stub's name only
    from sdpserver._media import VoipMetrics

METRICS: VoipMetrics = {
    "loss_rate": 26 / 256,
    "discard_rate": 13 / 256,
    "burst_density": 0.5,
    "gap_density": 3 / 256,
    "burst_duration_ms": 120,
    "gap_duration_ms": 5000,
    "round_trip_ms": 80,
    "end_system_delay_ms": 60,
    "gmin": 16,
    "r_factor": 82,
    "mos_lq": 4.1,
    "mos_cq": 3.9,
}


def content(ssrc: int) -> bytes:
    """`METRICS` of the stream with this SSRC: what follows the block's header, 32 octets."""
    return (
        struct.pack("!I", ssrc)
        + bytes([26, 13, 128, 3])  # loss, discards, density of bursts, of gaps
        + struct.pack("!HHHH", 120, 5000, 80, 60)
        + bytes([0, 0, 0, 16])  # levels, RERL, Gmin
        + bytes([82, 127, 41, 39])  # R, external R, MOS-LQ, MOS-CQ
        + struct.pack("!BBHHH", 0, 0, 40, 80, 300)
    )
