from layer-cake-test-base as stage
env a=b
from stage
workdir /tmp
user nobody
entrypoint ["show", "lower"]
cmd ["case"]
