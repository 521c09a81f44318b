#include "../src/geometry.hpp"

#include <cstdio>
#include <vector>

struct Point {
    double x, y;
};

int main() {
    auto centroid = middle<Point>(std::vector<Point>{{0, 0}, {2, 4}});
    bool right = centroid && centroid->x == 1 && centroid->y == 2;
    bool refused = !middle<Point>(std::vector<Point>{});
    std::puts(right && refused ? "all checks passed" : "a check failed");
    return right && refused ? 0 : 1;
}
