;; A filter around another: exports the interface that it imports, and adds a thousand.
(component
  (import "acme:plugins/filter@1.0.0"
    (instance $inner (export "apply" (func (param "x" u32) (result u32)))))
  (core func $inner-apply (canon lower (func $inner "apply")))
  (core module $m
    (import "" "apply" (func $inner (param i32) (result i32)))
    (func (export "apply") (param $x i32) (result i32)
      (i32.add (call $inner (local.get $x)) (i32.const 1000))))
  (core instance $i (instantiate $m (with "" (instance (export "apply" (func $inner-apply))))))
  (func $apply (param "x" u32) (result u32) (canon lift (core func $i "apply")))
  (instance $filter (export "apply" (func $apply)))
  (export "acme:plugins/filter@1.0.0" (instance $filter)))
