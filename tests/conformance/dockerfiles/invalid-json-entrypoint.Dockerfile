FROM layer-cake-test-base
CMD ['show', "single"]
