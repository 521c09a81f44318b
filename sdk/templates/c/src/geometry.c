#include "geometry.h"

bool mean(const double *numbers, size_t count, size_t stride, double *result) {
    if (count == 0) {
        return false;
    }
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += numbers[i * stride];
    }
    *result = sum / (double)count;
    return true;
}
