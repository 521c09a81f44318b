;; A filter that adds one.
(component
  (core module $m
    (func (export "apply") (param $x i32) (result i32) (i32.add (local.get $x) (i32.const 1))))
  (core instance $i (instantiate $m))
  (func $apply (param "x" u32) (result u32) (canon lift (core func $i "apply")))
  (instance $filter (export "apply" (func $apply)))
  (export "acme:plugins/filter@1.0.0" (instance $filter)))
