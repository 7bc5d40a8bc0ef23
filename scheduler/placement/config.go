package placement

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/connect"
)

// Config says what to run on the hosts, and where the masters are.
type Config struct {
	Masters               []string // see connect.Config
	TLS                   *tls.Config
	User, Password, Token string // see connect.Credentials; User is the principal, too

	Name string // of the framework; default "taskwall"
	Role string // whose resources are used; default "*"
	Task Task
	// Known are the frameworks that the log knows of.
	Known func() []events.Framework

	Logger *slog.Logger

	CallTimeout        time.Duration // for a call's answer; default 10 s
	RetryMin, RetryMax time.Duration // see backoff.Backoff
	Steady             time.Duration // how long a new task must run until the next is replaced; default 10 s
	Dial               connect.Dialer
	Now                func() time.Time
}

// Task is what runs on each host: a command without a container, in the host's
// namespaces. When anything of it changes, the hosts' tasks are replaced.
type Task struct {
	Command string   `json:"command"` // for /bin/sh
	User    string   `json:"user"`    // of the host; default root
	URIs    []string `json:"uris"`    // fetched into the task's directory before, executable
	CPUs    float64  `json:"cpus"`    // cores; default 0.5: where Mesos enforces quotas, it is all that the agent gets
	Memory  float64  `json:"memory"`  // MiB; default 256
}

func (t *Task) defaults() {
	t.User = cmp.Or(t.User, "root")
	t.CPUs, t.Memory = cmp.Or(t.CPUs, 0.5), cmp.Or(t.Memory, 256)
}

func (c *Config) withDefaults() error {
	if c.Task.Command == "" {
		return errors.New("placing agents: no command")
	}
	if c.Task.CPUs < 0 || c.Task.Memory < 0 {
		return errors.New("placing agents: resources below zero")
	}
	c.Name, c.Role = cmp.Or(c.Name, "taskwall"), cmp.Or(c.Role, "*")
	c.Task.defaults()
	c.CallTimeout, c.Steady = cmp.Or(c.CallTimeout, 10*time.Second), cmp.Or(c.Steady, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Spec tells one form of the task from another, in the ids of tasks: see idPrefix.
func Spec(t Task) string {
	t.defaults()
	b, err := json.Marshal(t)
	if err != nil {
		panic("placement: encoding a task: " + err.Error()) // strings and numbers
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:4])
}
