package bus

import (
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// authOption is how a client proves who it is, or nil, and the inbox that the
// server lets a user with a key read.
func authOption(o Options) (opt nats.Option, inbox string, err error) {
	var given int
	var key nkeys.KeyPair
	if o.NKeyFile != "" {
		given++
		if key, err = readKey(o.NKeyFile); err != nil {
			return nil, "", fmt.Errorf("reading the key of the message bus from %s: %w", o.NKeyFile, err)
		}
	}
	if len(o.NKeySeed) > 0 {
		given++
		if key, err = nkeys.FromSeed(o.NKeySeed); err != nil {
			return nil, "", fmt.Errorf("reading the key of the message bus: %w", err)
		}
	}
	if key != nil {
		public, err := key.PublicKey()
		if err != nil {
			return nil, "", fmt.Errorf("reading the key of the message bus: %w", err)
		}
		opt, inbox = nats.Nkey(public, key.Sign), inboxPrefix(public)
	}
	if o.CredsFile != "" {
		given++
		opt = nats.UserCredentials(o.CredsFile)
	}
	if o.User != "" {
		given++
		opt = nats.UserInfo(o.User, o.Password)
	}
	if given > 1 {
		return nil, "", errors.New("connecting to the message bus: more than one kind of credentials")
	}
	return opt, inbox, nil
}

// PublicKey is the public half of the key whose seed is in a file.
func PublicKey(file string) (string, error) {
	key, err := readKey(file)
	if err != nil {
		return "", fmt.Errorf("reading the key of the message bus from %s: %w", file, err)
	}
	defer key.Wipe()
	return key.PublicKey()
}

func readKey(file string) (nkeys.KeyPair, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := nkeys.ParseDecoratedNKey(text)
	clear(text)
	return key, err
}
