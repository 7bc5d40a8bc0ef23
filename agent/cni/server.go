package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Attachment names one interface of one container.
type Attachment struct {
	Container string
	Iface     string
	Namespace string // absent in a DEL after a reboot, and in a GC
	Network   string
}

// Handler does what CNI asks for. Add, Del and Check may be called for
// different containers at once, also for the same one when the plugin was
// killed and started again: Add and Del are idempotent. An Add whose context ends
// leaves nothing, or succeeds; no Del begins before it has returned.
type Handler interface {
	Add(context.Context, Attachment) (Result, error)
	Del(context.Context, Attachment) error
	Check(context.Context, Attachment) error
	// GC removes the attachments to the network that are not in valid.
	GC(ctx context.Context, network string, valid []Attachment) error
	// Status says whether an Add could succeed now.
	Status(context.Context) error
}

// Server answers plugins on a unix socket.
type Server struct {
	Handler Handler
	Log     *slog.Logger
	adds    adds
}

// Listen opens the socket for root alone, in place of one that an earlier
// agent left. It stays when the listener is closed: by a socket that nobody
// listens on a plugin knows an agent that is being replaced, and waits longer
// than where none has ever run.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing the old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening for plugins: %w", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("closing the socket to others: %w", err)
	}
	return l, nil
}

// Serve answers until the context ends, then waits for the calls under way.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var calls sync.WaitGroup
	defer calls.Wait()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a plugin: %w", err)
		}
		calls.Go(func() { s.serve(ctx, c) })
	}
}

// ioTimeout bounds how long a plugin may take to send its request and to take
// its answer; it does both at once.
const ioTimeout = 10 * time.Second

func (s *Server) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	if err := privileged(c); err != nil {
		s.Log.Warn("a caller is not answered", "error", err)
		return
	}
	var req request
	if err := errors.Join(c.SetDeadline(time.Now().Add(ioTimeout)), read(c, &req)); err != nil {
		s.Log.Warn("a plugin sent no request", "error", err)
		return
	}
	started := time.Now()
	resp := s.answer(ctx, req)
	log := s.Log.With("command", req.Command, "container", req.Container, "took", time.Since(started))
	if resp.Exit != 0 && ctx.Err() != nil {
		// The agent ends, and that is no reason for a task to fail: a plugin that gets
		// no answer asks the next one.
		log.Info("cni call left to the next agent")
		return
	}
	if resp.Exit != 0 {
		log.Warn("cni call failed", "answer", string(resp.Stdout))
	} else {
		log.Info("cni call done")
	}
	err := c.SetDeadline(time.Now().Add(ioTimeout))
	if err == nil {
		err = json.NewEncoder(c).Encode(resp)
	}
	if err != nil {
		log.Warn("a plugin did not take its answer", "error", err)
	}
}

func (s *Server) answer(ctx context.Context, req request) response {
	conf, err := parseConfig(req.Config)
	var out []byte
	if err == nil {
		out, err = s.call(ctx, req, conf)
	}
	if err != nil {
		return response{Stdout: asError(conf.Version, err).json(), Exit: 1}
	}
	return response{Stdout: out}
}

func (s *Server) call(ctx context.Context, req request, conf config) ([]byte, error) {
	at := Attachment{Container: req.Container, Iface: req.Iface, Namespace: req.Namespace, Network: conf.Name}
	need := func(fields ...string) error {
		for i := 0; i < len(fields); i += 2 {
			if fields[i+1] == "" {
				return &Error{Code: CodeEnvironment, Msg: fields[i] + " is missing"}
			}
		}
		return nil
	}
	switch req.Command {
	case "VERSION":
		return json.Marshal(map[string]any{"cniVersion": conf.Version, "supportedVersions": versions})
	case "ADD":
		if err := need("CNI_CONTAINERID", at.Container, "CNI_NETNS", at.Namespace, "CNI_IFNAME", at.Iface, "the network configuration's name", at.Network); err != nil {
			return nil, err
		}
		ctx, end := s.adds.begin(ctx, at)
		defer end()
		r, err := s.Handler.Add(ctx, at)
		if off := context.Cause(ctx); err != nil && off != nil {
			return nil, off // what it was about then says nothing
		}
		if err != nil {
			return nil, err
		}
		return r.render(conf.Version, conf.DNS)
	case "DEL":
		if err := need("CNI_CONTAINERID", at.Container, "CNI_IFNAME", at.Iface); err != nil {
			return nil, err
		}
		if err := s.adds.callOff(ctx, at); err != nil {
			return nil, fmt.Errorf("waiting for the container's ADD to end: %w", err)
		}
		return nil, s.Handler.Del(ctx, at)
	case "CHECK":
		if err := need("CNI_CONTAINERID", at.Container, "CNI_NETNS", at.Namespace, "CNI_IFNAME", at.Iface); err != nil {
			return nil, err
		}
		return nil, s.Handler.Check(ctx, at)
	case "STATUS":
		if err := s.Handler.Status(ctx); err != nil {
			return nil, &Error{Code: CodeUnavailable, Msg: err.Error()}
		}
		return nil, nil
	case "GC":
		var valid []Attachment
		for _, v := range conf.Valid {
			valid = append(valid, Attachment{Container: v.Container, Iface: v.Iface, Network: conf.Name})
		}
		return nil, s.Handler.GC(ctx, conf.Name, valid)
	}
	return nil, &Error{Code: CodeEnvironment, Msg: fmt.Sprintf("CNI_COMMAND %q is not known", req.Command)}
}
