package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is an embedded NATS server with JetStream. When its disk was full or
// failed, it begins again by itself once the disk can be written.
type Server struct {
	running atomic.Pointer[instance]
	log     *slog.Logger
	stop    context.CancelFunc // of what watches the disk
	watched sync.WaitGroup

	mu   sync.Mutex // guards opts, reloads and new starts
	opts ServerOptions
}

// instance is a NATS server from its start to its end.
type instance struct {
	*server.Server
	failed atomic.Bool // a write to the disk did: what it was for is written no more
}

// readyTimeout bounds the start of a server; recovering large streams takes
// seconds.
const readyTimeout = 60 * time.Second

// StartServer starts a server and returns when it accepts clients. It writes
// nothing but what goes wrong, to the logger.
func StartServer(o ServerOptions, log *slog.Logger) (*Server, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	i, err := startInstance(o, log)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{log: log, stop: stop, opts: o}
	s.running.Store(i)
	s.watched.Go(func() { s.watchDisk(ctx, o.Dir) })
	return s, nil
}

func startInstance(o ServerOptions, log *slog.Logger) (*instance, error) {
	opts, err := nativeOptions(o)
	if err != nil {
		return nil, err
	}
	i := &instance{}
	if i.Server, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("setting up the message bus: %w", err)
	}
	i.SetLoggerV2(serverLog{log.With("part", "nats-server"), &i.failed}, false, false, false)
	i.Start()
	if !i.ReadyForConnections(readyTimeout) {
		i.end()
		return nil, fmt.Errorf("starting the message bus on %q: not ready after %s", o.Listen, readyTimeout)
	}
	if !i.JetStreamEnabled() {
		i.end()
		return nil, fmt.Errorf("starting the message bus: JetStream could not start in %s", o.Dir)
	}
	return i, nil
}

// end stops the instance and returns when its files are closed.
func (i *instance) end() {
	i.Shutdown()
	i.WaitForShutdown()
}

func nativeOptions(o ServerOptions) (*server.Options, error) {
	if o.Dir == "" {
		return nil, errors.New("setting up the message bus: no directory for its streams")
	}
	text, err := config(o)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{NoSigs: true, NoSystemAccount: false, DontListen: o.Listen == ""}
	if err := opts.ProcessConfigString(text); err != nil {
		return nil, fmt.Errorf("setting up the message bus: %w", err)
	}
	return opts, nil
}

// URL is where clients connect, or "" without a listener.
func (s *Server) URL() string {
	addr, ok := s.running.Load().Addr().(*net.TCPAddr)
	if !ok || addr == nil {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "nats://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// SetUsers replaces the users of a running server, and reads its certificates
// again. Connections of users that are gone or changed are closed, the others
// stay; new ones see the new certificates.
func (s *Server) SetUsers(u *Users) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opts
	if (o.Users == nil) != (u == nil) {
		return errors.New("changing users of the message bus: it can't be opened or closed to all while it runs")
	}
	o.Users = u
	opts, err := nativeOptions(o)
	if err != nil {
		return err
	}
	if err := s.running.Load().ReloadOptions(opts); err != nil {
		return fmt.Errorf("changing users of the message bus: %w", err)
	}
	s.opts = o
	return nil
}

// InProcessConn gives a client a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.running.Load().InProcessConn() }

// Shutdown stops the server and returns when its files are closed.
func (s *Server) Shutdown() {
	s.stop()
	s.watched.Wait()
	s.running.Load().end()
}

// serverLog passes on what an operator should know; the server's notices about
// its own start and stop are details.
type serverLog struct {
	log    *slog.Logger
	failed *atomic.Bool // whether it told of a write that failed
}

func (l serverLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l serverLog) Warnf(f string, v ...any)   { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l serverLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l serverLog) Debugf(f string, v ...any)  {}
func (l serverLog) Tracef(f string, v ...any)  {}

// Errorf: that it will write a stream no more the server only logs.
func (l serverLog) Errorf(f string, v ...any) {
	text := fmt.Sprintf(f, v...)
	if strings.Contains(strings.ToLower(text), "critical write error") {
		l.failed.Store(true)
	}
	l.log.Error(text)
}
