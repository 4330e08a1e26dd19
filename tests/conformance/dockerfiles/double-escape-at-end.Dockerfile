FROM layer-cake-test-base
RUN echo a \\
ENV X=y
CMD show \\
