// sdp_loadgen: many WebRTC clients and RTP phones in one process, driven by lines on standard input.
// loadtests/loadgen.py speaks with it; generator.cpp lists the commands.

#include <srtp2/srtp.h>

#include <csignal>
#include <cstdio>
#include <exception>

#include "generator.h"

int main() {
    std::signal(SIGPIPE, SIG_IGN);
    if (srtp_init() != srtp_err_status_ok) {
        std::fputs("sdp_loadgen: libsrtp2 cannot be initialised\n", stderr);
        return 1;
    }
    try {
        sdpserver::loadgen::Generator().run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "sdp_loadgen: %s\n", error.what());
        return 1;
    }
    return 0;
}
