;; Takes as much memory as it is told, all of it touched, and keeps it while it waits.
(component
  (import "wasm-runner:task/invocations@0.1.0" (instance $invocations
    (type $a-failure (variant
      (case "returned" string) (case "trapped" string) (case "timed-out" string) (case "limit-exceeded" string)
      (case "cancelled" string) (case "skipped" string) (case "lost" string)))
    (export "failure" (type $failure (eq $a-failure)))
    (type $a-refusal (variant
      (case "unknown-task" string) (case "bad-arguments" string) (case "unknown-invocation" string)
      (case "denied" string) (case "cycle" string) (case "limit" string) (case "unavailable" string)))
    (export "refusal" (type $refusal (eq $a-refusal)))
    (type $an-error (variant (case "failed" $failure) (case "refused" $refusal)))
    (export "error" (type $error (eq $an-error)))
    (export "await-any-within" (func
      (param "ids" (list string)) (param "timeout-ms" u64)
      (result (result (option (tuple u32 (result string (error $failure)))) (error $refusal)))))
    (export "call" (func
      (param "task" string) (param "arguments" string) (result (result string (error $error)))))))

  (core module $memory
    (memory (export "memory") 1)
    ;; What lies below is for the answers of calls.
    (global $next (mut i32) (i32.const 1024))
    ;; Frees nothing: all of it are short texts.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $memory (instantiate $memory))
  (core func $wait (canon lower (func $invocations "await-any-within")
    (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core func $call (canon lower (func $invocations "call")
    (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core module $m
    (import "" "memory" (memory 1))
    (import "" "wait" (func $wait (param i32 i32 i64 i32)))
    (import "" "call" (func $call (param i32 i32 i32 i32 i32)))
    ;; Grows by a number of MiB, and touches each page of it.
    (func $grow (param $mib i32)
      (local $at i32)
      (local.set $at (memory.grow (i32.mul (local.get $mib) (i32.const 16))))
      (if (i32.eq (local.get $at) (i32.const -1)) (then unreachable))
      (local.set $at (i32.mul (local.get $at) (i32.const 65536)))
      (block $end
        (loop $more
          (br_if $end (i32.ge_u (local.get $at) (i32.mul (memory.size) (i32.const 65536))))
          (i32.store (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br $more))))
    (func (export "park") (param $mib i32) (param $ms i64)
      (call $grow (local.get $mib))
      (call $wait (i32.const 0) (i32.const 0) (local.get $ms) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then unreachable)))
    (func (export "ask") (param $mib i32) (param $times i32)
        (param $task i32) (param $task-length i32) (param $arguments i32) (param $arguments-length i32)
      (call $grow (local.get $mib))
      (block $end
        (loop $more
          (br_if $end (i32.eqz (local.get $times)))
          (local.set $times (i32.sub (local.get $times) (i32.const 1)))
          (call $call
            (local.get $task) (local.get $task-length) (local.get $arguments) (local.get $arguments-length)
            (i32.const 16))
          (if (i32.load8_u (i32.const 16)) (then unreachable))
          (br $more)))))
  (core instance $main (instantiate $m (with "" (instance
    (export "memory" (memory $memory "memory"))
    (export "wait" (func $wait))
    (export "call" (func $call))))))
  ;; Takes memory and parks for a while.
  (func (export "park") (param "mib" u32) (param "ms" u64) (canon lift (core func $main "park")))
  ;; Takes memory and calls a task, as often as it is told.
  (func (export "ask")
    (param "mib" u32) (param "times" u32) (param "task" string) (param "arguments" string)
    (canon lift (core func $main "ask") (memory $memory "memory") (realloc (func $memory "realloc")))))
