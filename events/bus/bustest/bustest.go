// Package bustest gives tests a message bus of their own: real servers in a
// temporary directory.
package bustest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/taskwall/taskwall/events/bus"
)

// Main runs a package's tests and looks for goroutines that they left.
func Main(m *testing.M) {
	// A server that is stopped in the middle of an atomic batch leaves the store
	// in which it staged the batch open.
	const srv = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction(srv+".(*msgBlock).flushLoop"),
		goleak.IgnoreTopFunction(srv+".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(srv+"/ats.Register.func1"),
	)
}

// Server starts a server for the test, on a free port of loopback, with no
// users unless opts set some, and stops it at the end of the test.
func Server(t testing.TB, opts ...func(*bus.ServerOptions)) *bus.Server {
	t.Helper()
	o := bus.ServerOptions{Name: t.Name(), Dir: t.TempDir(), Listen: "127.0.0.1:-1"}
	for _, f := range opts {
		f(&o)
	}
	s, err := bus.StartServer(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

// Connect connects in-process and closes the connection at the end of the test.
func Connect(t testing.TB, s *bus.Server, opts ...func(*bus.Options)) *bus.Conn {
	t.Helper()
	o := bus.Options{Server: s, Name: t.Name()}
	for _, f := range opts {
		f(&o)
	}
	c, err := bus.Connect(Context(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Streams is a connection to a new server that has the streams.
func Streams(t testing.TB) *bus.Conn {
	t.Helper()
	c := Connect(t, Server(t))
	if err := bus.EnsureStreams(Context(t), c.JS, bus.Retention{}, 1); err != nil {
		t.Fatal(err)
	}
	return c
}

// Context ends with the test, or after a time in which any test should be done.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Log writes to the test's output.
func Log(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
