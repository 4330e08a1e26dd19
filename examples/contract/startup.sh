#!/bin/sh
echo "ready to greet"
