;; A table that grows by a thousand elements for as long as it is let.
(component
  (core module $m
    (table 0 funcref)
    (func (export "grow") (result i32)
      (loop $again
        (br_if $again
          (i32.ne (table.grow (ref.null func) (i32.const 1000)) (i32.const -1))))
      (table.size)))
  (core instance $main (instantiate $m))
  ;; How many elements it got.
  (func (export "grow") (result u32)
    (canon lift (core func $main "grow"))))
