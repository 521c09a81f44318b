;; Takes handles of the host's and never gives them back.
(component $handles
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type (sub resource)))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
    (alias outer $handles $pollable (type $p))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core module $m
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (func $hold (export "hold") (param $count i32) (result i32)
      (local $held i32)
      (loop $again
        (if (i32.lt_u (local.get $held) (local.get $count))
          (then
            ;; One that is ready in a quarter of an hour.
            (drop (call $subscribe (i64.const 900000000000)))
            (local.set $held (i32.add (local.get $held) (i32.const 1)))
            (br $again))))
      (local.get $held))
    (func (export "hold-and-trap") (param $count i32)
      (drop (call $hold (local.get $count)))
      unreachable))
  (core instance $host (export "subscribe" (func $subscribe)))
  (core instance $main (instantiate $m (with "host" (instance $host))))
  ;; How many it got.
  (func (export "hold") (param "count" u32) (result u32)
    (canon lift (core func $main "hold")))
  (func (export "hold-and-trap") (param "count" u32)
    (canon lift (core func $main "hold-and-trap"))))
