FROM layer-cake-test-base
WORKDIR /rails
ENV RAILS_ENV="production" \
    BUNDLE_DEPLOYMENT="1" \
    BUNDLE_PATH="/usr/local/bundle" \
    BUNDLE_WITHOUT="development"
COPY entrypoint.sh /rails/bin/docker-entrypoint
RUN chown -R 1000:1000 /rails
USER 1000:1000
ENTRYPOINT ["/rails/bin/docker-entrypoint"]
EXPOSE 3000
CMD ["./bin/show", "rails", "server"]
WORKDIR /
