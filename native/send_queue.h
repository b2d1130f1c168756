#pragma once
// Datagrams on their way out, kept until the end of a round, and then given to the kernel many at a time.

#include "bytes.h"
#include "counters.h"
#include "socket_address.h"
#include "udp_socket.h"

namespace sdpserver {

class SendQueue {
   public:
    /// Room in a slot: a received payload behind a header of ours, with tags of SRTP or SRTCP.
    static constexpr size_t kSlot = kMaxDatagram + 64;

    SendQueue() = default;
    virtual ~SendQueue() = default;
    SendQueue(const SendQueue&) = delete;
    SendQueue& operator=(const SendQueue&) = delete;

    /// Where to write the next datagram, `kSlot` octets; the same until `push`. Sends what waits if no slot is free.
    virtual uint8_t* slot() = 0;
    /// Queue what was written to the last `slot()`. `dropped` is counted up when the kernel does not take it. Socket
    /// and counter stay where they are until the queue was flushed.
    virtual void push(const UdpSocket& socket, const SocketAddress& to, size_t length, Counter* dropped) = 0;
    /// Send what waits.
    virtual void flush() = 0;
};

}  // namespace sdpserver
