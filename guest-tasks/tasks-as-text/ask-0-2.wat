;; Imports version 0.2 of an interface, and asks it for its version.
(component
  (import "acme:math/ops@0.2.0" (instance $ops (export "version" (func (result u32)))))
  (core func $version (canon lower (func $ops "version")))
  (core module $m
    (import "" "version" (func $version (result i32)))
    (func (export "ask") (result i32) (call $version)))
  (core instance $i (instantiate $m (with "" (instance (export "version" (func $version))))))
  (func (export "ask") (result u32) (canon lift (core func $i "ask"))))
