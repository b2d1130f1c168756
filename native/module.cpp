#include <nanobind/nanobind.h>

NB_MODULE(_media, module) { module.doc() = "The native media plane."; }
