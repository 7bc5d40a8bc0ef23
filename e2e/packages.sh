#!/bin/sh
# Installs the Debian packages that the demo and the tests use, by name, if any
# is missing. Prints nothing when there is nothing to do.
set -eu
missing=
need() { command -v "$2" >/dev/null 2>&1 || missing="$missing $1"; }
need iptables iptables
need ipset ipset
need conntrack conntrack
need iproute2 ip
need procps sysctl
need git git
need openssl openssl
need bird2 bird
need frr vtysh
need openbgpd bgpctl
need docker-compose docker-compose
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "please install:$missing" >&2
	exit 1
fi
echo "installing:$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
# The tests start routers themselves, in namespaces: none is to run here.
for service in bird frr openbgpd; do
	case "$missing" in *"$service"*) systemctl disable --now "$service" >/dev/null 2>&1 || true ;; esac
done
