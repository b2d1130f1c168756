/* Preloaded into rtpengine 10.5, whose configuration has no such setting: every Opus encoder that it makes works at the
 * complexity in OPUS_COMPLEXITY instead of libopus' highest. So the bench compares two servers that do the same work.
 * libavcodec sets its encoders up through this function alone; all of its arguments fit a register. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>

enum { SET_COMPLEXITY = 4010 }; /* OPUS_SET_COMPLEXITY_REQUEST of opus_defines.h */

typedef int (*control)(void *encoder, int request, ...);

static int forward(const char *name, void *encoder, int request, void *argument) {
    const char *wanted = getenv("OPUS_COMPLEXITY");
    control next = (control)dlsym(RTLD_NEXT, name);
    if (request == SET_COMPLEXITY && wanted) return next(encoder, request, atoi(wanted));
    return next(encoder, request, argument);
}

int opus_multistream_encoder_ctl(void *encoder, int request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return forward("opus_multistream_encoder_ctl", encoder, request, argument);
}

int opus_encoder_ctl(void *encoder, int request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return forward("opus_encoder_ctl", encoder, request, argument);
}
