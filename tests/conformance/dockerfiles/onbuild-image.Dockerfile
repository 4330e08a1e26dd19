FROM layer-cake-test-base
ONBUILD COPY package.json /usr/src/app/
ONBUILD RUN npm install
ONBUILD ENTRYPOINT ["never"]
CMD [ "node" ]
