;; Exports a function that hands out a resource. A handle means nothing outside
;; of its instance, so the function is no task; `plain` beside it is one.
(component
  (type $rep (resource (rep i32)))
  (export $handle "handle" (type $rep))
  (core func $new (canon resource.new $rep))
  (core module $m
    (import "" "new" (func $new (param i32) (result i32)))
    (func (export "open") (result i32) (call $new (i32.const 7)))
    (func (export "plain") (result i32) (i32.const 7)))
  (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
  (func (export "open") (result (own $handle)) (canon lift (core func $i "open")))
  (func (export "plain") (result u32) (canon lift (core func $i "plain"))))
