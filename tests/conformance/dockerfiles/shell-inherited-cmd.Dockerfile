FROM layer-cake-test-shell
