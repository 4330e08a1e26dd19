ARG VERSION=v1.2.3
ARG IMAGE=layer-cake-test-both:latest
FROM ${IMAGE%:*}
ARG VERSION
ENV BARE=${VERSION#v} MAJOR=${VERSION%%.*} SAFE=${VERSION//./_}
ENV NEEDED="${BARE:?has to be set}"
USER ${BARE%%.*}
