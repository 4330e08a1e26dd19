FROM layer-cake-test-base
LABEL only="data"
