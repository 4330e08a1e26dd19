FROM layer-cake-test-base
ENTRYPOINT ["show", "a",] ; show b #
