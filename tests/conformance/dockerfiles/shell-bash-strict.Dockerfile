FROM layer-cake-test-base
SHELL ["/bin/sh", "-eu", "-c"]
RUN echo strict
CMD show one; show two
