;; Loops for ever while it is instantiated: the time limit must hold there too.
(component
  (core module $m
    (func $start (loop $again (br $again)))
    (start $start)
    (func (export "nothing")))
  (core instance $i (instantiate $m))
  (func (export "nothing") (canon lift (core func $i "nothing"))))
