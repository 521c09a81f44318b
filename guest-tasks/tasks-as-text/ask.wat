;; Imports a filter, and asks it.
(component
  (import "acme:plugins/filter@1.0.0"
    (instance $filter (export "apply" (func (param "x" u32) (result u32)))))
  (core func $apply (canon lower (func $filter "apply")))
  (core module $m
    (import "" "apply" (func $apply (param i32) (result i32)))
    (func (export "ask") (param $x i32) (result i32) (call $apply (local.get $x))))
  (core instance $i (instantiate $m (with "" (instance (export "apply" (func $apply))))))
  (func (export "ask") (param "x" u32) (result u32) (canon lift (core func $i "ask"))))
