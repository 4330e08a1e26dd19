FROM scratch
COPY --from=layer-cake-test-base /bin/busybox /traefik
EXPOSE 80
VOLUME ["/tmp"]
ENTRYPOINT ["/traefik", "printf", "%s|"]
CMD ["a b", "c"]
