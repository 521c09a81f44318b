;; Traps while it is instantiated, before any function is called.
(component
  (core module $m
    (func $start unreachable)
    (start $start)
    (func (export "nothing")))
  (core instance $i (instantiate $m))
  (func (export "nothing") (canon lift (core func $i "nothing"))))
