;; Asks for 4 GiB before its first instruction: the limit must hold for what a
;; memory starts with, not only for its growth.
(component
  (core module $m
    (memory 65536)
    (func (export "nothing")))
  (core instance $i (instantiate $m))
  (func (export "nothing") (canon lift (core func $i "nothing"))))
