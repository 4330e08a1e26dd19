FROM layer-cake-test-base
ARG S6_OVERLAY_VERSION=3.1.6.2
ENV S6_KEEP_ENV=1 S6_VERSION=${S6_OVERLAY_VERSION}
ENTRYPOINT ["/init"]
CMD ["s6-svscan", "/etc/services.d"]
