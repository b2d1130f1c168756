#include "receive_batch.h"

namespace sdpserver {

ReceiveBatch::ReceiveBatch() : memory_(kSize * kMaxDatagram) {
    for (size_t i = 0; i < kSize; ++i) {
        vectors_[i] = {buffer(i), kMaxDatagram};
        msghdr& header = headers_[i].msg_hdr;
        header.msg_iov = &vectors_[i];
        header.msg_iovlen = 1;
        header.msg_name = &addresses_[i];
        header.msg_control = control_[i].data();
        reset(i);
    }
}

/// The kernel overwrites them.
void ReceiveBatch::reset(size_t i) {
    headers_[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    headers_[i].msg_hdr.msg_controllen = kControl;
}

size_t ReceiveBatch::receive(const UdpSocket& socket) {
    for (size_t i = 0; i < received_; ++i) reset(i);
    const int count = recvmmsg(socket.fd(), headers_.data(), kSize, 0, nullptr);
    received_ = count > 0 ? static_cast<size_t>(count) : 0;
    return received_;
}

std::optional<uint32_t> ReceiveBatch::drops() const {
    if (received_ == 0) return std::nullopt;
    msghdr last = headers_[received_ - 1].msg_hdr;
    for (cmsghdr* control = CMSG_FIRSTHDR(&last); control != nullptr; control = CMSG_NXTHDR(&last, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
            uint32_t count = 0;
            std::memcpy(&count, CMSG_DATA(control), sizeof count);
            return count;
        }
    }
    return std::nullopt;
}

}  // namespace sdpserver
