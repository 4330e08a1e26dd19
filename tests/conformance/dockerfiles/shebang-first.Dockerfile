#!/usr/bin/env docker-build
# escape=`
FROM layer-cake-test-base
CMD show \
  not-a-tick
