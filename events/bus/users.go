package bus

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nkeys"

	"github.com/taskwall/taskwall/events"
)

// Users says who may connect. Each value is the public half of an nkey
// (Ed25519, "U…"): the file holds no secret, and logging in costs the server
// one signature check, however many agents come back at once.
//
//	# users.yaml
//	controller: UBXR…
//	auditor: UDKL…          # optional; may read the streams, never write
//	operators:              # may ask the controller anything, and change policies
//	  ann: UCSW…
//	viewers:                # may ask the controller what is
//	  dashboard: UB4N…
//	agents:
//	  node-1.example.com: UAQS…
//	  node-2.example.com: UCE7…
type Users struct {
	Controller string            `yaml:"controller"`
	Auditor    string            `yaml:"auditor,omitempty"`
	Operators  map[string]string `yaml:"operators,omitempty"` // by any name
	Viewers    map[string]string `yaml:"viewers,omitempty"`   // by any name
	Agents     map[string]string `yaml:"agents,omitempty"`    // by host name
}

// NewKey makes a new user's key: the seed is the secret that the user keeps,
// public is what goes into Users.
func NewKey() (seed []byte, public string, err error) {
	kp, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", fmt.Errorf("making a user key: %w", err)
	}
	if seed, err = kp.Seed(); err != nil {
		return nil, "", fmt.Errorf("making a user key: %w", err)
	}
	public, err = kp.PublicKey()
	return seed, public, err
}

// LoadUsers reads a users file. Unknown fields and keys that are not public
// user keys are errors.
func LoadUsers(path string) (*Users, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading users: %w", err)
	}
	var u Users
	if err := yaml.UnmarshalWithOptions(b, &u, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("reading users from %s:\n%w", path, err)
	}
	if err := u.Validate(); err != nil {
		return nil, fmt.Errorf("reading users from %s: %w", path, err)
	}
	return &u, nil
}

// Save writes the users file in place of the old one, in one step.
func (u *Users) Save(path string) error {
	if err := u.Validate(); err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	b, err := yaml.Marshal(u)
	if err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".users-*")
	if err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	defer os.Remove(tmp.Name()) // nothing is left of it after the rename
	if _, err = tmp.Write(b); err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing users: %w", err)
	}
	return nil
}

// Validate checks that every key is a public user key that nobody else has.
func (u *Users) Validate() error {
	if u.Controller == "" {
		return fmt.Errorf("no key for the controller")
	}
	owner := map[string]string{}
	check := func(who, key string) error {
		if !nkeys.IsValidPublicUserKey(key) {
			return fmt.Errorf("%s: %q is not a public user key", who, key)
		}
		if other, taken := owner[key]; taken {
			return fmt.Errorf("%s and %s have the same key", other, who)
		}
		owner[key] = who
		return nil
	}
	if err := check("controller", u.Controller); err != nil {
		return err
	}
	if u.Auditor != "" {
		if err := check("auditor", u.Auditor); err != nil {
			return err
		}
	}
	for _, name := range events.SortedKeys(u.Operators) {
		if err := check("operator "+name, u.Operators[name]); err != nil {
			return err
		}
	}
	for _, name := range events.SortedKeys(u.Viewers) {
		if err := check("viewer "+name, u.Viewers[name]); err != nil {
			return err
		}
	}
	for _, host := range events.SortedKeys(u.Agents) {
		if host == "" || len(Token(host)) > maxToken {
			return fmt.Errorf("agent %q: the host name is empty or too long", host)
		}
		if err := check("agent "+host, u.Agents[host]); err != nil {
			return err
		}
	}
	return nil
}

// maxToken bounds a host's token: DNS names have at most 253 bytes.
const maxToken = 3 * 253
