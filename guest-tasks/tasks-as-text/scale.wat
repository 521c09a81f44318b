;; A filter that multiplies by ten.
(component
  (core module $m
    (func (export "apply") (param $x i32) (result i32) (i32.mul (local.get $x) (i32.const 10))))
  (core instance $i (instantiate $m))
  (func $apply (param "x" u32) (result u32) (canon lift (core func $i "apply")))
  (instance $filter (export "apply" (func $apply)))
  (export "acme:plugins/filter@1.4.2" (instance $filter)))
