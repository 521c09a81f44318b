// What needs no runner can be tested without one.

#pragma once

#include <stdbool.h>
#include <stddef.h>

// The middle of some numbers; false if there are none.
bool mean(const double *numbers, size_t count, size_t stride, double *result);
