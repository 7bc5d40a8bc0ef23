package bus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// authOption is how a client proves who it is, or nil.
func authOption(o Options) (nats.Option, error) {
	var opt nats.Option
	var given int
	if o.NKeyFile != "" {
		given++
		var err error
		if opt, err = nats.NkeyOptionFromSeed(o.NKeyFile); err != nil {
			return nil, fmt.Errorf("reading the key of the message bus from %s: %w", o.NKeyFile, err)
		}
	}
	if len(o.NKeySeed) > 0 {
		given++
		kp, err := nkeys.FromSeed(o.NKeySeed)
		if err != nil {
			return nil, fmt.Errorf("reading the key of the message bus: %w", err)
		}
		public, err := kp.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("reading the key of the message bus: %w", err)
		}
		opt = nats.Nkey(public, kp.Sign)
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
		return nil, errors.New("connecting to the message bus: more than one kind of credentials")
	}
	return opt, nil
}
