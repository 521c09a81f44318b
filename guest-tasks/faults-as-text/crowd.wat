;; Parks for a while, and has nearly as many core instances as a component may: 19 in each of ten components in it,
;; and two of its own.
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
    (export "await-any-within" (func
      (param "ids" (list string)) (param "timeout-ms" u64)
      (result (result (option (tuple u32 (result string (error $failure)))) (error $refusal)))))))

  (component $ten-and-nine
    (core module $empty)
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)) (core instance (instantiate $empty)) (core instance (instantiate $empty))
    (core instance (instantiate $empty)))
  (instance (instantiate $ten-and-nine)) (instance (instantiate $ten-and-nine))
  (instance (instantiate $ten-and-nine)) (instance (instantiate $ten-and-nine))
  (instance (instantiate $ten-and-nine)) (instance (instantiate $ten-and-nine))
  (instance (instantiate $ten-and-nine)) (instance (instantiate $ten-and-nine))
  (instance (instantiate $ten-and-nine)) (instance (instantiate $ten-and-nine))

  (core module $memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $memory (instantiate $memory))
  (core func $wait (canon lower (func $invocations "await-any-within")
    (memory $memory "memory") (realloc (func $memory "realloc"))))
  (core module $m
    (import "" "memory" (memory 1))
    (import "" "wait" (func $wait (param i32 i32 i64 i32)))
    (func (export "park") (param $ms i64)
      (call $wait (i32.const 0) (i32.const 0) (local.get $ms) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then unreachable))))
  (core instance $main (instantiate $m (with "" (instance
    (export "memory" (memory $memory "memory"))
    (export "wait" (func $wait))))))
  (func (export "park") (param "ms" u64) (canon lift (core func $main "park"))))
