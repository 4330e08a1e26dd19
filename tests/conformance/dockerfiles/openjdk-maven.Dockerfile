FROM layer-cake-test-base as builder
WORKDIR /build
COPY package.json pom.xml
RUN touch target.jar

FROM layer-cake-test-base
ARG JAR_FILE=target.jar
COPY --from=builder /build/${JAR_FILE} /app.jar
ENV JAVA_OPTS="-Xmx256m -Dfile.encoding=UTF-8"
ENTRYPOINT ["sh", "-c", "exec java $JAVA_OPTS -jar /app.jar \"$@\"", "--"]
