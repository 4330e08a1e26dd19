#!/bin/sh
echo "everybody is greeted"
