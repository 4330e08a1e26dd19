FROM layer-cake-test-user
RUN ["show", "in the build"]
