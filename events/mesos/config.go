package mesos

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/taskwall/taskwall/events/connect"
	"github.com/taskwall/taskwall/events/mirror"
)

// Sink is the log; see mirror.Sink.
type Sink = mirror.Sink

// Config says where the masters are and how to speak to them. Only Masters
// must be set.
type Config struct {
	// Masters are the masters' base URLs ("http://m1:5050") or "host:port".
	// Any one leads to the leader; credentials go to these alone, so the list
	// must name each member as the others' redirects name it.
	Masters []string
	// User and Password are sent as HTTP Basic; Token, if set, as
	// "Authorization: token=…" instead.
	User, Password, Token string
	// TLS is used for https masters, and makes https the scheme of masters
	// given without one.
	TLS *tls.Config
	// Encoding is Protobuf unless set.
	Encoding Encoding
	// MaxRecord is the largest record or answer, in bytes. Default 1 GiB:
	// the whole state of 100,000 tasks takes some 400 MB as JSON.
	MaxRecord int64

	// Heartbeats is how many heartbeat intervals of silence make a stream
	// dead. Default 3, at least 2.
	Heartbeats int
	// CallTimeout bounds a GET call and the wait for a stream's first bytes.
	// Default 15 s.
	CallTimeout time.Duration
	// PollAgents is how often GET_AGENTS looks for agents that vanished.
	// Default 30 s.
	PollAgents time.Duration
	// Resync is how often the whole state is compared. Default 10 min.
	Resync time.Duration
	// Linger is how long an ended task stays in the picture. Default 1 min.
	Linger time.Duration
	// GoneAfter is how long an agent may be absent before it is taken to be
	// gone for good. Default two weeks, when a master forgets it, too
	// (--registry_max_agent_age).
	GoneAfter time.Duration
	// Since is up to when the log is known to be complete: tasks that began
	// and ended after it, unseen, are told of from the master's memory of
	// completed tasks. Zero: none are.
	Since time.Time

	// RetryMin and RetryMax bound the waits between attempts to connect.
	// Default 250 ms and 10 s.
	RetryMin, RetryMax time.Duration

	Logger *slog.Logger     // default: discard
	Now    func() time.Time // default time.Now
	Rand   func() float64   // jitter, in [0,1); default math/rand/v2
	// Dial makes connections; default net.Dialer.
	Dial connect.Dialer
}

func (c Config) withDefaults() Config {
	c.Encoding = cmp.Or(c.Encoding, Protobuf)
	c.MaxRecord = cmp.Or(c.MaxRecord, 1<<30)
	c.Heartbeats = max(cmp.Or(c.Heartbeats, 3), 2)
	c.CallTimeout = cmp.Or(c.CallTimeout, 15*time.Second)
	c.PollAgents = cmp.Or(c.PollAgents, 30*time.Second)
	c.Resync = cmp.Or(c.Resync, 10*time.Minute)
	c.Linger = cmp.Or(c.Linger, time.Minute)
	c.GoneAfter = cmp.Or(c.GoneAfter, 14*24*time.Hour)
	c.RetryMin = cmp.Or(c.RetryMin, 250*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 10*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c
}

// jittered is d, up to a tenth more: so that controllers do not poll in step.
func (c *Config) jittered(d time.Duration) time.Duration {
	return d + time.Duration(c.Rand()*float64(d)/10)
}
