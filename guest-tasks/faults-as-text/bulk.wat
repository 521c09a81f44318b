;; Fills and copies 128 MiB at a time, for ever: between two looks at the clock lies
;; a whole such operation.
(component
  (core module $m
    (memory 2048)
    (func (export "fill")
      (loop $again
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 134217728))
        (br $again)))
    (func (export "copy")
      (loop $again
        (memory.copy (i32.const 1) (i32.const 0) (i32.const 134217727))
        (br $again))))
  (core instance $main (instantiate $m))
  (func (export "fill") (canon lift (core func $main "fill")))
  (func (export "copy") (canon lift (core func $main "copy"))))
