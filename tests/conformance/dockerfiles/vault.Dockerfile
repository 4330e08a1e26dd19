FROM layer-cake-test-base
# This is the release of Vault to pull in.
ARG VAULT_VERSION=1.15.6
# Create a vault user first so the IDs get set the same way.
RUN mkdir -p /vault/logs && \
    mkdir -p /vault/file && \
    # a comment that is indented
    chown -R 100:1000 /vault
VOLUME /vault/logs
# The entry point script uses dumb-init as the top-level process.
COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
# By default you'll get a single-node development server.
CMD ["show", "server", "-dev"]
