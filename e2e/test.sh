#!/bin/sh
# Runs every test with the race detector. Packages run one after the other
# where they share the machine's kernel; each cleans up after itself, and the
# end of this script looks whether it did.
set -eu
cd "$(dirname "$0")/.."
before=$(ip netns list 2>/dev/null | awk '{print $1}' | sort)
export GORACE="suppressions=$PWD/e2e/race.supp"
go vet ./...
go test -race -timeout 15m ${TESTFLAGS:-} ./...
after=$(ip netns list 2>/dev/null | awk '{print $1}' | sort)
if [ "$before" != "$after" ]; then
	echo "the tests left network namespaces behind:" >&2
	echo "$after" >&2
	exit 1
fi
