;; Exports two incompatible versions of one interface, which say which they are.
(component
  (core module $m
    (func (export "old") (result i32) (i32.const 1))
    (func (export "new") (result i32) (i32.const 2)))
  (core instance $i (instantiate $m))
  (func $old (result u32) (canon lift (core func $i "old")))
  (func $new (result u32) (canon lift (core func $i "new")))
  (instance $ops-old (export "version" (func $old)))
  (instance $ops-new (export "version" (func $new)))
  (export "acme:math/ops@0.1.3" (instance $ops-old))
  (export "acme:math/ops@0.2.0" (instance $ops-new)))
