FROM layer-cake-test-base
ENV NODE_ENV=production
WORKDIR /usr/src/app
COPY package*.json ./
RUN npm ci --omit=dev
COPY . .
EXPOSE 3000
USER 1000
CMD [ "node", "server.js" ]
