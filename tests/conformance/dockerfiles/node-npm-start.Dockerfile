FROM layer-cake-test-base
WORKDIR /app
COPY . /app
CMD npm start -- --port "$PORT" --host 0.0.0.0
ENV PORT 8080
