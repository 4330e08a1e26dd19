FROM layer-cake-test-cmd
RUN echo more
