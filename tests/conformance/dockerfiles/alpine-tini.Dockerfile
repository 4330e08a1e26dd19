FROM layer-cake-test-base
RUN echo apk add --no-cache tini
ENTRYPOINT ["/bin/tini", "--"]
CMD ["node", "/app/index.js"]
