package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options configure a connection.
type Options struct {
	// URLs of the servers. Ignored when Server is set.
	URLs []string
	// Server connects in-process.
	Server *Server
	// Host is set by a host's agent: answers then go to the inbox that the
	// host's user may read.
	Host string
	// Auditor is set by who connects as the auditor of Users: its JetStream
	// requests go where they are let through if they only read.
	Auditor bool
	// At most one of: a file with an nkey seed, a NATS .creds file, the seed.
	NKeyFile, CredsFile string
	NKeySeed            []byte
	// User and Password serve external servers that know no keys.
	User, Password string
	// TLS: CA signs the server; Cert and Key are the client's own, if it needs any.
	TLS    *TLSFiles
	Name   string // for the server's monitoring
	Logger *slog.Logger
}

// Conn is a connection that comes back by itself for as long as it is open.
// While it is down requests fail at once instead of being sent later: a writer
// must never be surprised by its own past.
type Conn struct {
	NATS *nats.Conn
	JS   jetstream.JetStream

	log *slog.Logger

	mu      sync.Mutex
	up      bool
	trouble error                                            // why it could not connect, as last logged
	waiting map[string]map[*context.CancelCauseFunc]struct{} // by subject: requests under way
	told    map[string]time.Time                             // by subject of Tell: when it was last denied, or zero
	back    map[*func()]struct{}                             // to call at each reconnect
}

// The first and the longest delay before a try to reconnect: agents of a whole cluster come back at once,
// so each waits a random part of it.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 4 * time.Second
)

// Connect returns when the connection stands, or when ctx ends. Each change of
// state is logged once. Close it in the end.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Conn{log: log, waiting: map[string]map[*context.CancelCauseFunc]struct{}{}, told: map[string]time.Time{}, back: map[*func()]struct{}{}}
	ready := make(chan struct{})
	opts, err := c.options(o, sync.OnceFunc(func() { close(ready) }))
	if err != nil {
		return nil, err
	}
	if c.NATS, err = nats.Connect(strings.Join(o.URLs, ","), opts...); err != nil {
		return nil, fmt.Errorf("connecting to the message bus: %w", err)
	}
	if !c.NATS.IsConnected() {
		select {
		case <-ready:
		case <-ctx.Done():
			c.NATS.Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, fmt.Errorf("connecting to the message bus: %w (last try: %w)", context.Cause(ctx), c.trouble)
		}
	}
	c.setUp()
	prefix := apiPrefix
	if o.Auditor {
		prefix = auditPrefix
	}
	if err := c.requestWith(prefix); err != nil {
		c.NATS.Close()
		return nil, err
	}
	return c, nil
}

// requestTimeout bounds each request. One that a server took with it when it
// went down is never answered; it is made again.
const requestTimeout = 3 * time.Second

// Timeout bounds a context by the time that a single request may take.
func Timeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, requestTimeout)
}

// pingEvery is how often a connection is tried; a server that does not answer for
// twice as long is left for another. Shorter, a controller that stood still for a
// few seconds would connect anew when it goes on, and lead later for it.
const pingEvery = 5 * time.Second

func (c *Conn) options(o Options, connected func()) ([]nats.Option, error) {
	opts := []nats.Option{
		nats.Name(o.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // the user may yet be added
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(2),
		nats.PermissionErrOnSubscribe(true),
		nats.ConnectHandler(func(*nats.Conn) { connected() }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.cannot(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { connected(); c.setUp() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.report(err) }),
	}
	if o.Server != nil {
		opts = append(opts, nats.InProcessServer(o.Server))
	}
	auth, inbox, err := authOption(o)
	if err != nil {
		return nil, err
	}
	if auth != nil {
		opts = append(opts, auth)
	}
	if o.Host != "" {
		inbox = inboxPrefix(o.Host)
	}
	if inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(inbox))
	}
	if t := o.TLS; t != nil {
		if t.CA != "" {
			opts = append(opts, nats.RootCAs(t.CA))
		}
		if t.Cert != "" {
			opts = append(opts, nats.ClientCert(t.Cert, t.Key))
		}
	}
	return opts, nil
}

func reconnectDelay(attempts int) time.Duration {
	d := min(firstDelay<<min(attempts, 10), lastDelay)
	return d/2 + rand.N(d/2)
}

// Close ends the connection.
func (c *Conn) Close() { c.NATS.Close() }

// OnReconnect has fn called each time the connection comes back after a loss:
// what was sent meanwhile on plain subjects has been missed. fn must not
// block. remove ends it.
func (c *Conn) OnReconnect(fn func()) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.back[&fn] = struct{}{}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.back, &fn)
	}
}

func (c *Conn) setUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up {
		return
	}
	c.up, c.trouble = true, nil
	clear(c.told) // the server may have other permissions now
	c.log.Info("connected to the message bus")
	for fn := range c.back {
		(*fn)()
	}
}

func (c *Conn) down(err error) {
	c.mu.Lock()
	was := c.up
	c.up = false
	c.mu.Unlock()
	if was && !c.NATS.IsClosed() {
		c.log.Warn("lost the message bus; reconnecting", "error", err)
	}
}

// cannot logs why a try to connect failed, unless the last failed alike.
func (c *Conn) cannot(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.up && (c.trouble == nil || c.trouble.Error() != err.Error()) {
		c.trouble = err
		c.log.Warn("can't connect to the message bus; trying on", "error", err)
	}
}

// report takes the errors that the server sends outside of any answer.
func (c *Conn) report(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		if _, rest, ok := strings.Cut(err.Error(), `Publish to "`); ok {
			subject, _, _ := strings.Cut(rest, `"`)
			c.deny(subject)
		}
	}
	c.log.Error("the message bus refused something", "error", err)
}

func (c *Conn) deny(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for cancel := range c.waiting[subject] {
		(*cancel)(fmt.Errorf("publishing to %s: %w", subject, ErrDenied))
	}
	if _, tells := c.told[subject]; tells {
		c.told[subject] = time.Now()
	}
}

// deniedFor is how long Tell does not ask the server again that has denied a
// subject; it logs each denial.
const deniedFor = 10 * time.Minute

// Tell publishes what nobody answers: it may be lost. It is ErrDenied once the
// server has denied the subject, until it no longer does.
func (c *Conn) Tell(subject string, data []byte) error {
	c.mu.Lock()
	was := c.told[subject]
	denied, ask := !was.IsZero(), time.Since(was) >= deniedFor
	if ask {
		c.told[subject] = time.Time{}
	}
	c.mu.Unlock()
	if denied && !ask {
		return fmt.Errorf("publishing to %s: %w", subject, ErrDenied)
	}
	err := c.NATS.Publish(subject, data)
	if errors.Is(err, nats.ErrReconnectBufExceeded) {
		err = ErrDisconnected
	}
	if err == nil && denied { // the answer to this one has not come
		err = ErrDenied
	}
	if err != nil {
		return fmt.Errorf("publishing to %s: %w", subject, err)
	}
	return nil
}

// Request is Ask that waits no longer than a server may take.
func (c *Conn) Request(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, stop := Timeout(ctx)
	defer stop()
	return c.Ask(ctx, msg)
}

// Ask sends a message and waits for its answer until ctx ends. A publish that
// the server does not permit ends with ErrDenied at once, not with a timeout.
func (c *Conn) Ask(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	if c.waiting[msg.Subject] == nil {
		c.waiting[msg.Subject] = map[*context.CancelCauseFunc]struct{}{}
	}
	c.waiting[msg.Subject][&cancel] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting[msg.Subject], &cancel)
		if len(c.waiting[msg.Subject]) == 0 {
			delete(c.waiting, msg.Subject)
		}
	}()
	answer, err := c.NATS.RequestMsgWithContext(ctx, msg)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrDenied) {
			return nil, cause
		}
		if errors.Is(err, nats.ErrReconnectBufExceeded) {
			err = ErrDisconnected
		}
		return nil, fmt.Errorf("request to %s: %w", msg.Subject, err)
	}
	return answer, nil
}
