FROM layer-cake-test-user
USER root:root
RUN mkdir /made-by-root
ENV WHO=5
USER $WHO
ENV WHO=6
