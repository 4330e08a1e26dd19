ARG BASE_IMAGE=layer-cake-test-base
ARG JS_IMAGE=layer-cake-test-base

FROM ${JS_IMAGE} as js-builder
ENV NODE_OPTIONS=--max_old_space_size=8000
WORKDIR /tmp/grafana
RUN touch public

FROM ${BASE_IMAGE}
ARG GF_UID="472"
ARG GF_GID="0"
ENV PATH="/usr/share/grafana/bin:$PATH" \
    GF_PATHS_HOME="/usr/share/grafana"
WORKDIR $GF_PATHS_HOME
COPY --from=js-builder /tmp/grafana/public ./public
EXPOSE 3000
USER "$GF_UID"
ENTRYPOINT [ "show", "/run.sh" ]
