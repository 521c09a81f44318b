// What needs no runner can be tested without one.

#pragma once

#include <expected>
#include <ranges>
#include <string>

template <class Point>
std::expected<Point, std::string> middle(std::ranges::sized_range auto &&points) {
    if (std::ranges::empty(points)) {
        return std::unexpected("no points have no centroid");
    }
    Point sum{0, 0};
    for (const Point &point : points) {
        sum.x += point.x;
        sum.y += point.y;
    }
    auto count = static_cast<double>(std::ranges::size(points));
    return Point{sum.x / count, sum.y / count};
}
