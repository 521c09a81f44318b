// The tasks that `wit/world.wit` declares. `build/bindings/{{snake}}.h` has their
// types, once `run-wasm-runner build` has run.

#include "{{snake}}.h"

#include "geometry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

// Arguments and results belong to the caller of the task, who frees them.

void exports_local_{{snake}}_tasks_greet({{snake}}_string_t *name, {{snake}}_string_t *ret) {
    char *greeting;
    int length = asprintf(&greeting, "Hello, %.*s!", (int)name->len, (const char *)name->ptr);
    if (length < 0) {
        abort();
    }
    *ret = ({{snake}}_string_t){(uint8_t *)greeting, (size_t)length};
}

bool exports_local_{{snake}}_tasks_centroid(exports_local_{{snake}}_tasks_list_point_t *points,
                                            exports_local_{{snake}}_tasks_point_t *ret,
                                            {{snake}}_string_t *err) {
    const double *numbers = (const double *)points->ptr;
    if (!mean(numbers, points->len, 2, &ret->x) || !mean(numbers + 1, points->len, 2, &ret->y)) {
        {{snake}}_string_dup(err, "no points have no centroid");
        return false;
    }
    return true;
}

uint32_t exports_local_{{snake}}_tasks_square(uint32_t n) {
    uint32_t square;
    if (__builtin_mul_overflow(n, n, &square)) {
        fprintf(stderr, "the square of %" PRIu32 " needs more than 32 bits\n", n);
        abort();
    }
    return square;
}

bool exports_local_{{snake}}_tasks_sum_of_squares(uint32_t count, uint64_t *ret, {{snake}}_string_t *err) {
    {{snake}}_string_t task;
    {{snake}}_string_set(&task, "local:{{name}}/tasks.square");
    // A list of arguments, in JSON, for each child.
    wasm_runner_task_invocations_list_json_t arguments = {calloc(count, sizeof({{snake}}_string_t)), count};
    if (arguments.ptr == NULL) {
        abort();
    }
    for (uint32_t i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "[%" PRIu32 "]", i + 1);
        {{snake}}_string_dup(&arguments.ptr[i], text);
    }
    wasm_runner_task_types_submit_options_t options = {0};
    wasm_runner_task_invocations_list_invocation_id_t children;
    wasm_runner_task_invocations_refusal_t refusal;
    if (!wasm_runner_task_invocations_submit_all(&task, &arguments, &options, &children, &refusal)) {
        *err = refusal.val.denied; // every case has a message, in the same place
        return false;
    }
    // While it waits, this task holds no thread.
    wasm_runner_task_invocations_list_outcome_t outcomes;
    if (!wasm_runner_task_invocations_await_all(&children, &outcomes, &refusal)) {
        *err = refusal.val.denied;
        return false;
    }
    *ret = 0;
    for (size_t i = 0; i < outcomes.len; i++) {
        wasm_runner_task_invocations_outcome_t *outcome = &outcomes.ptr[i];
        if (outcome->is_err) {
            *err = outcome->val.err.val.trapped; // here too
            return false;
        }
        char text[16];
        snprintf(text, sizeof text, "%.*s", (int)outcome->val.ok.len, (const char *)outcome->val.ok.ptr);
        *ret += strtoull(text, NULL, 10);
    }
    // What is not freed goes with the instance: each invocation has one of its own.
    return true;
}
