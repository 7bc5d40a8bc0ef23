package bus

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is an embedded NATS server with JetStream.
type Server struct {
	srv  *server.Server
	mu   sync.Mutex // guards opts and reloads
	opts ServerOptions
}

// readyTimeout bounds the start of a server; recovering large streams takes
// seconds.
const readyTimeout = 60 * time.Second

// StartServer starts a server and returns when it accepts clients. It writes
// nothing but what goes wrong, to the logger.
func StartServer(o ServerOptions, log *slog.Logger) (*Server, error) {
	opts, err := nativeOptions(o)
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("setting up the message bus: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	srv.SetLoggerV2(serverLog{log.With("part", "nats-server")}, false, false, false)
	srv.Start()
	s := &Server{srv: srv, opts: o}
	if !srv.ReadyForConnections(readyTimeout) {
		s.Shutdown()
		return nil, fmt.Errorf("starting the message bus on %q: not ready after %s", o.Listen, readyTimeout)
	}
	if !srv.JetStreamEnabled() {
		s.Shutdown()
		return nil, fmt.Errorf("starting the message bus: JetStream could not start in %s", o.Dir)
	}
	return s, nil
}

func nativeOptions(o ServerOptions) (*server.Options, error) {
	if o.Dir == "" {
		return nil, errors.New("setting up the message bus: no directory for its streams")
	}
	text, err := Config(o)
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
	addr, ok := s.srv.Addr().(*net.TCPAddr)
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
	if err := s.srv.ReloadOptions(opts); err != nil {
		return fmt.Errorf("changing users of the message bus: %w", err)
	}
	s.opts = o
	return nil
}

// InProcessConn gives a client a connection without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// Shutdown stops the server and returns when its files are closed.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}

// serverLog passes on what an operator should know; the server's notices about
// its own start and stop are details.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l serverLog) Warnf(f string, v ...any)   { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l serverLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l serverLog) Errorf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l serverLog) Debugf(f string, v ...any)  {}
func (l serverLog) Tracef(f string, v ...any)  {}
