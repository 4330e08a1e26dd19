FROM layer-cake-test-base AS prep_es_files
RUN mkdir -p /usr/share/elasticsearch/data && chown -R 1000:0 /usr/share/elasticsearch

FROM layer-cake-test-base
ENV ELASTIC_CONTAINER true
WORKDIR /usr/share/elasticsearch
COPY --from=prep_es_files --chown=1000:0 /usr/share/elasticsearch /usr/share/elasticsearch
ENV PATH /usr/share/elasticsearch/bin:$PATH
LABEL org.label-schema.schema-version="1.0" \
  org.label-schema.url="https://example.com" \
  org.label-schema.license="Elastic License"
ENTRYPOINT ["/bin/tini", "--", "/bin/show"]
USER 1000:0
# Dummy overridable parameter parsed by entrypoint
CMD ["eswrapper"]
