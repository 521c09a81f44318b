;; Waits on a shared memory for a thread that can't exist.
(component
  (core module $m
    (memory 1 1 shared)
    (func (export "wait")
      (drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const -1)))))
  (core instance $main (instantiate $m))
  (func (export "wait") (canon lift (core func $main "wait"))))
