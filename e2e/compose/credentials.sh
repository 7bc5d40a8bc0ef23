#!/bin/sh
# Makes a key for each user of the message bus, once, each in the volume of who
# uses it, and tells NATS what each may do. Keys that are there stay.
#
#   credentials.sh [ROOT]    ROOT is where the volumes are, / if not given
set -eu
umask 077
cd "${1:-/}"
public() { # FILE
	[ -s "$1" ] || taskwall nats key "$1" >/dev/null
	taskwall nats key --public "$1"
}
cat >accounts/users.yaml <<YAML
controller: $(public controller/controller.nk)
auditor: $(public controller/auditor.nk)
operators:
  operator: $(public controller/operator.nk)
agents:
  172.28.0.11: $(public agent-1/agent.nk)
  172.28.0.12: $(public agent-2/agent.nk)
YAML
[ -s controller/checkpoint.key ] || openssl genpkey -algorithm ed25519 -out controller/checkpoint.key
openssl pkey -in controller/checkpoint.key -pubout -out controller/checkpoint.pub
taskwall nats accounts --users accounts/users.yaml >accounts/accounts.new
mv accounts/accounts.new accounts/accounts.conf # only whole files have the name
chmod 0644 accounts/accounts.conf
