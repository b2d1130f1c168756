"""What is measured of one leg: the media plane's counters, and the quality that is made of them."""

from __future__ import annotations

from typing import Literal, TypedDict


class VoipMetrics(TypedDict):
    """A VoIP metrics block of the peer on what we send (RFC 3611 section 4.7). Rates and densities are fractions."""

    loss_rate: float
    discard_rate: float
    burst_density: float
    gap_density: float
    burst_duration_ms: int
    gap_duration_ms: int
    round_trip_ms: int
    end_system_delay_ms: int
    gmin: int
    r_factor: int  # 127: unknown
    mos_lq: float  # 12.7: unknown
    mos_cq: float  # 12.7: unknown


class LegStats(TypedDict):
    """Counters of one leg. `received` is what came in from its peer, `sent` what went out to it."""

    packets_received: int
    octets_received: int
    packets_sent: int
    octets_sent: int
    packets_lost: int  # of those the peer sent, RFC 3550 section 6.4.1
    jitter_ms: float  # interarrival jitter of what came in, RFC 3550 section 6.4.1
    remote_packets_lost: int  # of those we sent, as the peer's last report block says
    remote_jitter_ms: float
    round_trip_ms: float  # from the last report block with an LSR; -1.0 until known
    packet_ms: float  # what one packet that came in holds; 0.0 until known
    packets_unseen: int  # sent after the last one that came, as the peer's sender report says; not in `packets_lost`
    loss_runs: int  # how often packets were lost, one or more in a row; the figures of loss lag 32 packets behind
    loss_runs_lost: int  # the packets in them, also those that came too late
    bursts: int  # RFC 3611 section 4.7.2, with Gmin 16
    burst_packets: int  # in bursts, received or lost
    burst_packets_lost: int
    remote_fraction_lost: float  # of what we sent in the interval of the last report block
    expected_loss: float  # the same, smoothed over the blocks
    reports_received: int  # report blocks on what we send
    playout_delay_ms: float  # that its jitter buffer adds, a frame of what we send included; 0.0: nothing is decoded
    packets_late: int  # too late to be decoded
    packets_recovered: int  # lost, but there was a copy in a later one (RFC 2198, or Opus's FEC where it is decoded)
    concealed_ms: float  # made up where packets were missing. These four are of what its own worker decodes
    voip_metrics: VoipMetrics | None  # None: the peer sends none
    codec_received: str  # of the last packet of audio, "" before the first
    codec_sent: str
    conversion: Literal["none", "relay", "convert", "transcode"]  # how what this leg sends is made
    auth_failures: int  # SRTP or SRTCP tag wrong
    auth_failures_in_a_row: int  # of SRTP, since the last packet whose tag was right
    replayed: int
    dropped_source: int  # packets from an address that is not the leg's
    dropped_malformed: int
    dropped_payload_type: int
    dropped_direction: int  # while we do not receive
    dropped_conversion: int  # nothing that the leg speaks could be made of it
    dropped_send: int  # the socket would not take it
    rtcp_received: int
    rtcp_sent: int
    telephone_events_received: int  # presses, not packets
    telephone_events_sent: int
    heard_ms_ago: float  # since RTP or RTCP came from its peer; -1.0: none has
    sent_ms_ago: float  # since RTP was sent to it; -1.0: none was
    remote_address: str  # "192.0.2.1 5000", "" until known


class Rating(TypedDict):
    """By ITU-T G.107; null: nothing has been heard, or the codec is not speech's."""

    r_factor: float | None
    mos: float | None


class Bursts(TypedDict):
    """Of losses, RFC 3611 section 4.7.2. Densities are fractions."""

    bursts: int
    burst_density: float
    burst_duration_ms: int
    gap_density: float
    gap_duration_ms: int


class RemoteBursts(TypedDict):
    """As the peer measured them; null: it does not."""

    burst_density: float | None
    burst_duration_ms: int | None
    gap_density: float | None
    gap_duration_ms: int | None


class ReceivedQuality(Bursts, Rating):
    """Of what came in."""

    codec: str | None
    packets: int
    lost: int
    loss_fraction: float
    jitter_ms: float
    late: int
    recovered: int
    playout_delay_ms: float | None
    concealed_ms: int


class SentQuality(RemoteBursts, Rating):
    """Of what went out, as the peer's reports have it; null: it has sent none."""

    codec: str | None
    packets: int
    lost: int | None
    loss_fraction: float | None
    jitter_ms: float | None


class Quality(TypedDict):
    """Of one leg. `round_trip_ms` is null until known."""

    round_trip_ms: float | None
    received: ReceivedQuality
    sent: SentQuality


class ReceivedReport(ReceivedQuality):
    """`interval_loss_fraction`: since the report before."""

    interval_loss_fraction: float


class SentReport(SentQuality):
    """The same, as the peer reports it."""

    interval_loss_fraction: float | None


class QualityReport(TypedDict):
    """Of one leg, in the event `quality`."""

    round_trip_ms: float | None
    received: ReceivedReport
    sent: SentReport


class LegFigures(TypedDict):
    """Of either side in a session's JSON; null once the leg is closed."""

    media: LegStats | None
    quality: Quality | None
