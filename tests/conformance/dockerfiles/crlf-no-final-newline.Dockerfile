FROM layer-cake-test-both
ENV A=b