#include "../src/geometry.h"

#include <stdio.h>

#define CHECK(condition)                                                     \
    if (!(condition)) {                                                      \
        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        return 1;                                                            \
    }

int main(void) {
    const double points[] = {0, 0, 2, 4};
    double x, y;
    CHECK(mean(points, 2, 2, &x) && x == 1);
    CHECK(mean(points + 1, 2, 2, &y) && y == 2);
    CHECK(!mean(points, 0, 2, &x));
    puts("all checks passed");
    return 0;
}
