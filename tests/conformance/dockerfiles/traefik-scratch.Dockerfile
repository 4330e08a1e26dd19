FROM scratch
COPY --from=layer-cake-test-base /bin/busybox /printf
EXPOSE 80
VOLUME ["/tmp"]
ENTRYPOINT ["/printf", "%s|"]
CMD ["a b", "c"]
