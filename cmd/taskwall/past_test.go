package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/pasttest"
)

// scriptT lets a script stand for a test.
type scriptT struct{ *testscript.TestScript }

func (t scriptT) Helper()           {}
func (t scriptT) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }

// past starts a NATS server at $NATS that holds the past of pasttest.Shop, with
// its end signed by a key of the script.
func past(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: past keyfile")
	}
	key, err := eventlog.ReadPrivateKey(ts.MkAbs(args[0]))
	ts.Check(err)
	srv, err := bus.StartServer(bus.ServerOptions{Listen: ts.Getenv("NATS"), Dir: ts.MkAbs("store")}, nil)
	ts.Check(err)
	ts.Defer(srv.Shutdown)
	ctx := context.Background()
	conn, err := bus.Connect(ctx, bus.Options{URLs: []string{srv.URL()}, Name: "past"})
	ts.Check(err)
	defer conn.Close()
	ts.Check(bus.EnsureStreams(ctx, conn.JS, bus.Retention{}, 1))
	log, err := eventlog.Open(ctx, conn.JS, eventlog.Options{Epoch: 1, Key: key})
	ts.Check(err)
	publisher, err := work.NewPublisher(ctx, conn.JS, 1)
	ts.Check(err)
	p := pasttest.Shop(scriptT{ts})
	for _, r := range p.Log {
		e, err := r.Entry()
		ts.Check(err)
		_, err = log.Append(ctx, e.Event)
		ts.Check(err)
	}
	for _, s := range p.Sent {
		it, err := s.Item()
		ts.Check(err)
		ts.Check(publisher.Publish(ctx, it))
	}
	for _, r := range p.Said {
		ts.Check(work.NewReporter(conn, r.Host).Report(ctx, r.Report))
	}
	ts.Check(log.Checkpoint(ctx))
}

// harm does something to a copy's only segment of a stream: "flip" a byte, "cut"
// its end off, or "remove" it.
func harm(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: harm copy stream flip|cut|remove")
	}
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), args[1], "*.zst"))
	ts.Check(err)
	if len(files) != 1 {
		ts.Fatalf("%d segments", len(files))
	}
	data, err := os.ReadFile(files[0])
	ts.Check(err)
	switch args[2] {
	case "flip":
		data[len(data)/2] ^= 0x10
	case "cut":
		data = data[:len(data)-100]
	case "remove":
		ts.Check(os.Remove(files[0]))
		return
	}
	ts.Check(os.WriteFile(files[0], data, 0o600))
}
