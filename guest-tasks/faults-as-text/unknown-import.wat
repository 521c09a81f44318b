;; Imports something that no component provides and the runner does not know.
(component
  (import "demo:nowhere/nothing@0.1.0" (instance $nowhere
    (export "nothing" (func))))
  (core func $nothing (canon lower (func $nowhere "nothing")))
  (core module $m
    (import "" "nothing" (func $nothing))
    (func (export "nothing") (call $nothing)))
  (core instance $i (instantiate $m (with "" (instance (export "nothing" (func $nothing))))))
  (func (export "call-nothing") (canon lift (core func $i "nothing"))))
