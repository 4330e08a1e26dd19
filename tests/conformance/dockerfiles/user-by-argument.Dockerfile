FROM layer-cake-test-base AS base
ARG APP_USER=4321
USER ${APP_USER}
FROM base
CMD ["show"]
