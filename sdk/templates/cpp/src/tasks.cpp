// The tasks that `wit/world.wit` declares. `build/bindings/{{snake}}_cpp.h` has their
// types, once `run-wasm-runner build` has run.

#include "{{snake}}_cpp.h"

#include "geometry.hpp"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

namespace task = wasm_runner::task;

namespace exports::local::{{snake}}::tasks {

namespace {

// What a failure or a refusal says, whichever it is.
template <class Variant> std::unexpected<wit::string> error(const Variant &variant) {
    auto message = std::visit([](auto &one) { return one.value.get_view(); }, variant.variants);
    return std::unexpected(wit::string::from_view(message));
}

std::vector<std::string_view> views(auto &&strings) {
    std::vector<std::string_view> views;
    for (size_t i = 0; i < strings.size(); i++) {
        views.emplace_back(strings[i].data(), strings[i].size());
    }
    return views;
}

} // namespace

wit::string Greet(wit::string name) {
    return wit::string::from_view("Hello, " + name.to_string() + "!");
}

std::expected<Point, wit::string> Centroid(wit::vector<Point> points) {
    return middle<Point>(std::span(points.data(), points.size())).transform_error([](const std::string &message) {
        return wit::string::from_view(message);
    });
}

uint32_t Square(uint32_t n) {
    uint32_t square;
    if (__builtin_mul_overflow(n, n, &square)) {
        std::fprintf(stderr, "the square of %u needs more than 32 bits\n", n);
        std::abort();
    }
    return square;
}

std::expected<uint64_t, wit::string> SumOfSquares(uint32_t count) {
    // A list of arguments, in JSON, for each child.
    std::vector<std::string> arguments;
    for (uint32_t n = 1; n <= count; n++) {
        arguments.push_back("[" + std::to_string(n) + "]");
    }
    auto children = task::invocations::SubmitAll("local:{{name}}/tasks.square", views(arguments), {});
    if (!children) {
        return error(children.error());
    }
    // While it waits, this task holds no thread.
    auto outcomes = task::invocations::AwaitAll(views(*children));
    if (!outcomes) {
        return error(outcomes.error());
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < outcomes->size(); i++) {
        auto &outcome = (*outcomes)[i];
        if (!outcome) {
            return error(outcome.error());
        }
        uint64_t square = 0;
        std::from_chars(outcome->data(), outcome->data() + outcome->size(), square);
        sum += square;
    }
    return sum;
}

} // namespace exports::local::{{snake}}::tasks
