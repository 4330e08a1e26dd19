FROM layer-cake-test-shell
ENTRYPOINT show inherited shell
