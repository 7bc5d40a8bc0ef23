package marathon

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

// Config says where the members are and how to speak to them. Only Members
// must be set.
type Config struct {
	// Members are the base URLs ("https://m1:8443") or "host:port" of the
	// Marathons. Any one leads to the leader; credentials go to these alone,
	// so the list must name each member as the others' redirects name it.
	Members []string
	// User and Password are sent as HTTP Basic; Token, if set, as
	// "Authorization: token=…" instead.
	User, Password, Token string
	// TLS is used for https members, and makes https the scheme of members
	// given without one.
	TLS *tls.Config

	// MaxEvent is the largest event, and MaxAnswer the largest answer to a
	// REST call, in bytes. Default 16 MiB and 256 MiB.
	MaxEvent, MaxAnswer int
	// Silence is how long the stream may say nothing, not even the blank line
	// that Marathon writes every 10 s. Default 35 s.
	Silence time.Duration
	// CallTimeout bounds the wait for an answer's headers, for more of its body,
	// and for the stream's first event; a whole answer may take ten times as
	// long. Default 30 s: a standby proxies for 10 s.
	CallTimeout time.Duration
	// Resync is how often everything is compared. Default 5 min.
	Resync time.Duration
	// Settle is how long reads that events ask for are gathered at least.
	// Default 200 ms.
	Settle time.Duration

	// Active says whether a framework is registered with Mesos and active. While
	// the Marathon that is known is, another is not believed: its members would
	// take every app's name away. May be called at any time; default: none is.
	Active func(framework string) bool

	// Running are the apps and pods of which a framework's tasks run, each once,
	// as far as Mesos tells. What of them Marathon never shows is warned of: it
	// leaves out silently what the user may not view. May be called at any time;
	// default: none is known.
	Running func(framework string) []string

	// RetryMin and RetryMax bound the waits between attempts to connect.
	// Default 500 ms and 15 s.
	RetryMin, RetryMax time.Duration

	Logger *slog.Logger     // default: discard
	Now    func() time.Time // default time.Now
	Rand   func() float64   // jitter, in [0,1); default math/rand/v2
	Dial   connect.Dialer   // default net.Dialer
}

func (c Config) withDefaults() Config {
	c.MaxEvent = cmp.Or(c.MaxEvent, 16<<20)
	c.MaxAnswer = cmp.Or(c.MaxAnswer, 256<<20)
	c.Silence = cmp.Or(c.Silence, 35*time.Second)
	c.CallTimeout = cmp.Or(c.CallTimeout, 30*time.Second)
	c.Resync = cmp.Or(c.Resync, 5*time.Minute)
	c.Settle = cmp.Or(c.Settle, 200*time.Millisecond)
	c.RetryMin = cmp.Or(c.RetryMin, 500*time.Millisecond)
	c.RetryMax = cmp.Or(c.RetryMax, 15*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	if c.Active == nil {
		c.Active = func(string) bool { return false }
	}
	if c.Running == nil {
		c.Running = func(string) []string { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c
}
